package fake

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/network"
)

// hostPort is a port of the host that an instance has published one of its own on.
type hostPort struct {
	protocol network.Protocol
	ip       netip.Addr
	port     uint16
}

// Host ports are chosen from this range, that of Linux' own choices.
const firstHostPort, lastHostPort = 32768, 60999

var loopback4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// publish takes the host ports that the spec asks for: all, or none. The backend
// is locked.
func (i *instance) publish() error {
	b := i.space.backend
	for k, p := range i.spec.Ports {
		if !p.Publish {
			continue
		}
		if !i.reachable() {
			return fieldError(at("ports", k)+".publish", errdefs.ErrFailedPrecondition, "the instance is on no network that gives it an address")
		}
		if p.Protocol == "" {
			p.Protocol = network.TCP
		}
		if !p.HostIP.IsValid() {
			p.HostIP = loopback4
		}
		if p.Host != 0 && b.published(hostPort{p.Protocol, p.HostIP, p.Host}) != nil {
			i.unpublish()
			return fieldError(at("ports", k)+".host", errdefs.ErrAlreadyExists, "port %d of the host is taken", p.Host)
		}
		if p.Host == 0 {
			if p.Host = b.freePort(p, i.id); p.Host == 0 {
				i.unpublish()
				return fieldError(at("ports", k)+".host", errdefs.ErrResourceExhausted, "no port of the host is left")
			}
		}
		if b.hostPorts == nil {
			b.hostPorts = make(map[hostPort]*instance)
		}
		b.hostPorts[hostPort{p.Protocol, p.HostIP, p.Host}] = i
		i.more().published = append(i.parts.published, p)
	}
	return nil
}

// freePort chooses a port of the host, or returns 0 where none is left. Where it
// begins depends on the instance alone; the next free one is taken. The backend is
// locked.
func (b *Backend) freePort(p network.Port, id string) uint16 {
	const count = lastHostPort - firstHostPort + 1
	start := b.newToken("port", id, p.String()) % count
	for n := range uint64(count) {
		port := uint16(firstHostPort + (start+n)%count)
		if b.published(hostPort{p.Protocol, p.HostIP, port}) == nil {
			return port
		}
	}
	return 0
}

// unpublish gives them back. The backend is locked.
func (i *instance) unpublish() {
	if i.parts == nil {
		return
	}
	for _, p := range i.parts.published {
		delete(i.space.backend.hostPorts, hostPort{p.Protocol, p.HostIP, p.Host})
	}
	i.parts.published = nil
}

// published finds who has a port of the host, also by listening on all addresses.
// The backend is locked.
func (b *Backend) published(at hostPort) *instance {
	for have, i := range b.hostPorts {
		if have.meets(at) {
			return i
		}
	}
	return nil
}

// meets reports whether two listeners would be in each other's way. One on all
// addresses is on those of its family.
func (h hostPort) meets(other hostPort) bool {
	return h.port == other.port && h.protocol == other.protocol && (h.ip == other.ip ||
		h.ip.BitLen() == other.ip.BitLen() && (h.ip.IsUnspecified() || other.ip.IsUnspecified()))
}

// portInfos is Info.Ports. The backend is locked.
func (i *instance) portInfos() []network.Port {
	if i.parts != nil && len(i.parts.published) > 0 {
		return i.parts.published
	}
	var out []network.Port
	for _, p := range i.spec.Ports {
		if p.Publish {
			out = append(out, p)
		}
	}
	return out
}

// Dial connects to a published port of the host, as net.Dial does, by an IP
// address or "localhost"; an address that is unspecified is that of loopback.
func (b *Backend) Dial(ctx context.Context, networkName, address string) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: networkName, Err: err}
	}
	host, port, err := splitAddress(networkName, address)
	if err != nil {
		return fail(err)
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	ip := loopback4
	if host != "" && host != "localhost" {
		if ip, err = netip.ParseAddr(host); err != nil {
			return fail(err)
		}
	}
	if ip.IsUnspecified() {
		if ip.Is6() {
			ip = netip.IPv6Loopback()
		} else {
			ip = loopback4
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	c, err := b.reachPort(hostPort{network.TCP, ip, port})
	if err != nil {
		return fail(err)
	}
	return c, nil
}

// reachPort connects to what an instance has published. The backend is locked.
func (b *Backend) reachPort(at hostPort) (*conn, error) {
	i := b.published(at)
	if i == nil || i.run == nil || i.run.over {
		return nil, fmt.Errorf("%w: no running instance has published the port", syscall.ECONNREFUSED)
	}
	var refused error
	for _, p := range i.parts.published {
		if !at.meets(hostPort{p.Protocol, p.HostIP, p.Host}) {
			continue
		}
		to := loopback4
		for _, e := range i.endpoints() {
			if len(e.addresses) > 0 {
				to = e.addresses[0].Addr()
				break
			}
		}
		if l := i.run.listener(to, p.Instance); l != nil {
			i.run.ports++
			return l.connect(tcpAddr(at.ip, ephemeral(i.run.ports)), to)
		}
		refused = fmt.Errorf("%w: nothing listens on port %d of %s: %s", syscall.ECONNREFUSED, p.Instance, i.ref().Label(), i.run.deaf())
	}
	return nil, refused
}
