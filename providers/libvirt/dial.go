//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/dialing"
	"github.com/univirt/univirt/internal/netns"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

var _ compute.Dialer = (*instance)(nil)

// Dial implements compute.Dialer: it connects to the address that the machine has on
// its first network, from where the hypervisor runs. A machine resets no connection
// when its run ends; that is done for it.
func (i *instance) Dial(ctx context.Context, protocol network.Protocol, port uint16) (net.Conn, error) {
	ctx, done, err := i.p.begin(ctx)
	if err != nil {
		return nil, i.fail("dial", err)
	}
	defer done()
	conn, err := i.dial(ctx, protocol, port)
	if err != nil {
		return nil, i.fail("dial", err)
	}
	return conn, nil
}

func (i *instance) dial(ctx context.Context, protocol network.Protocol, port uint16) (net.Conn, error) {
	if reason := i.p.hyper.unreachable; reason != "" {
		return nil, resource.Unsupported("dial", reason)
	}
	protocol, err := dialing.Check(protocol, port)
	if err != nil {
		return nil, err
	}
	d, err := i.load(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := compute.CheckTransition(settled(d.state), compute.OpDial); err != nil {
		return nil, err
	}
	addresses, err := i.p.addressesOf(ctx, d)
	if err != nil {
		return nil, err
	}
	if len(addresses) == 0 {
		return nil, resource.Errorf(errdefs.ErrUnavailable, "nothing can be reached: %s", noAddress)
	}
	namespace, err := i.p.namespace()
	if err != nil {
		return nil, err
	}
	defer namespace.Close()
	run, _, err := i.p.runProcess(d)
	if err != nil {
		// That the end of the run is not seen is no reason to refuse.
		run = nil
	}
	var errs []error
	for _, a := range addresses {
		conn, err := netns.Dial(ctx, namespace, string(protocol), netip.AddrPortFrom(a, port))
		if err == nil {
			return dialing.Lasting(conn, run), nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	run.Close()
	if done := ended(ctx); done != nil {
		return nil, done
	}
	return nil, resource.Errorf(errdefs.ErrUnavailable, "%w", errors.Join(errs...))
}

// noAddress is why a machine can be reached by nobody.
const noAddress = "the instance is on no network that gives it an address"

// addressesOf are the addresses by which a machine can be reached, the best first.
func (p *Provider) addressesOf(ctx context.Context, d *domain) ([]netip.Addr, error) {
	endpoints, _, err := p.endpointsOf(ctx, d, new(segments))
	var all []netip.Addr
	for _, e := range endpoints {
		for _, a := range e.Addresses {
			all = append(all, a.Addr())
		}
	}
	return all, err
}
