//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// endpoint is a handle on an endpoint.
type endpoint struct {
	network *networkHandle
	id      string
}

var _ network.Endpoint = (*endpoint)(nil)

// ID implements network.Endpoint.
func (e *endpoint) ID() string { return e.id }

func (e *endpoint) fail(op string, err error) error {
	return resource.Fail(op, e.network.p.ref(resource.KindEndpoint, "", e.id), err)
}

func errNoEndpoint() error { return resource.Errorf(errdefs.ErrNotFound, "no such endpoint") }

// segment is what is known of a network when its endpoints are told.
type segment struct {
	p     *Provider
	doc   document
	spec  network.Spec
	state networkState
	// bridge is libvirt's, and leases are what guests have asked for, by MAC.
	bridge string
	leases map[string][]lease
	// users are the instances that the network does not know of, once they were looked
	// for.
	users map[string]*domain
}

// segment reads a network.
func (p *Provider) segment(ctx context.Context, id string) (*segment, error) {
	h := &networkHandle{p, id}
	d, err := h.load(ctx)
	if err != nil {
		return nil, err
	}
	s := &segment{p: p, doc: d, leases: map[string][]lease{}}
	if s.spec, s.state, err = readNetwork(d); err != nil {
		return nil, err
	}
	s.bridge = s.spec.Bridge
	err = h.networks().onNetwork(ctx, id, func(n *lv.Network) error {
		if s.spec.External != network.Bridged {
			s.bridge, err = n.GetBridgeName()
			if err != nil {
				return err
			}
		}
		if len(s.state.Endpoints) == 0 {
			return nil
		}
		leases, err := n.GetDHCPLeases()
		if err != nil {
			return nil // of a network that stands still, or has none
		}
		for _, l := range leases {
			if a, err := netip.ParseAddr(l.IPaddr); err == nil {
				mac := strings.ToLower(l.Mac)
				s.leases[mac] = append(s.leases[mac], lease{a, l.ExpiryTime})
			}
		}
		return nil
	})
	if isNotFound(err) {
		err = nil
	}
	return s, err
}

// lease is an address that a guest has asked for.
type lease struct {
	address netip.Addr
	expiry  time.Time
}

// leaseTime is dnsmasq's, where nobody says another (dnsmasq(8), --dhcp-range).
const leaseTime = time.Hour

// since reports whether the lease was given, or renewed, in a run: one of a run before
// stays until it expires.
func (l lease) since(run runRecord) bool {
	return run.Continued || l.expiry.IsZero() || !l.expiry.Add(-leaseTime).Before(run.Started.Truncate(time.Second))
}

// endpointInfo tells of an endpoint.
func (s *segment) endpointInfo(ctx context.Context, e endpointRecord) (network.EndpointInfo, error) {
	d, err := s.user(ctx, e)
	if err != nil && !isNotFound(err) {
		return network.EndpointInfo{}, err
	}
	return s.tell(e, d), nil
}

// user is the instance that has an endpoint, also one of another namespace; nil where
// there is none.
func (s *segment) user(ctx context.Context, e endpointRecord) (*domain, error) {
	if e.Holder != "" {
		return s.p.read(ctx, e.Holder)
	}
	if s.users == nil {
		// What is known without a look may be older than what the caller has just done.
		all, err := s.p.readAll(ctx)
		if err != nil {
			return nil, err
		}
		s.users = users(all)
	}
	return s.users[e.ID], nil
}

// tell is endpointInfo where the domain of the instance is known; nil where there is
// none.
func (s *segment) tell(e endpointRecord, d *domain) network.EndpointInfo {
	running := d != nil && d.state.Active()
	info := network.EndpointInfo{
		Ref:     s.p.ref(resource.KindEndpoint, e.Name, e.ID),
		Network: s.p.ref(resource.KindNetwork, s.doc.Name, s.doc.ID),
		MAC:     e.MAC, Addresses: e.Addresses, Aliases: e.Aliases, For: e.For, PluggedIn: running,
		Attachment: network.Attachment{Bridge: s.bridge, MTU: s.spec.MTU},
	}
	for _, subnet := range s.spec.Subnets {
		info.Gateways = append(info.Gateways, subnet.Gateway)
	}
	if e.Own {
		info.For = s.p.ref(resource.KindInstance, e.Name, e.Holder)
	}
	switch {
	case len(e.Addresses) == 0:
		info.Reason = "addresses are given by others on a bridged network"
	case running && s.asks() && s.hasLease(e, d.facts.run):
		info.Source = "lease"
	default:
		info.Source = "assigned"
	}
	return info
}

// asks reports whether guests are meant to learn their addresses by DHCP.
func (s *segment) asks() bool {
	return slices.ContainsFunc(s.spec.Subnets, func(n network.Subnet) bool { return n.DHCP })
}

// hasLease reports whether the guest has asked in a run for what is assigned to it.
func (s *segment) hasLease(e endpointRecord, run runRecord) bool {
	return slices.ContainsFunc(s.leases[e.MAC.String()], func(l lease) bool {
		return l.since(run) && slices.ContainsFunc(e.Addresses, func(p netip.Prefix) bool { return p.Addr() == l.address })
	})
}

// Info implements network.Endpoint.
func (e *endpoint) Info(ctx context.Context) (network.EndpointInfo, error) {
	ctx, done, err := e.network.p.begin(ctx)
	if err != nil {
		return network.EndpointInfo{}, e.fail("info", err)
	}
	defer done()
	s, err := e.network.p.segment(ctx, e.network.id)
	if isNotFound(err) {
		err = errNoEndpoint()
	}
	if err != nil {
		return network.EndpointInfo{}, e.fail("info", err)
	}
	at := s.state.find(e.id)
	if at < 0 {
		return network.EndpointInfo{}, e.fail("info", errNoEndpoint())
	}
	info, err := s.endpointInfo(ctx, s.state.Endpoints[at])
	return info, e.fail("info", err)
}

// Release implements network.Endpoint.
func (e *endpoint) Release(ctx context.Context) error {
	ctx, done, err := e.network.p.begin(ctx)
	if err != nil {
		return e.fail("release", err)
	}
	defer done()
	if !resource.IsID(e.network.id) {
		return e.fail("release", errNoEndpoint())
	}
	err = e.network.alter(ctx, func(ctx context.Context) error {
		if err := e.network.p.unused(ctx, e.id); err != nil {
			return err
		}
		return e.network.amend(ctx, func(_ network.Spec, state *networkState) error {
			at := state.find(e.id)
			if at < 0 {
				return errNoEndpoint()
			}
			if holder := state.Endpoints[at].Holder; holder != "" {
				return resource.Errorf(errdefs.ErrFailedPrecondition, "instance %s has the endpoint", holder)
			}
			state.remove(e.id)
			return nil
		})
	})
	if isNotFound(err) {
		err = errNoEndpoint()
	}
	return e.fail("release", err)
}
