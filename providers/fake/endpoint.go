package fake

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// endpoint is a place in a network. The backend's lock guards it.
type endpoint struct {
	ref       resource.Ref
	segment   *segment
	name      string
	aliases   []string
	mac       network.HardwareAddr
	addresses []netip.Prefix
	meant     resource.Ref
	// reserved endpoints were made by Reserve, and outlive the instance.
	reserved bool
	// instance is the one that has the endpoint, and plugged says that it runs.
	instance *instance
	plugged  bool
	// received and sent count the bytes of the run under way.
	received, sent atomic.Int64
}

// text is the endpoint's addresses, for Dump.
func (e *endpoint) text() string {
	parts := []string{e.mac.String()}
	for _, a := range e.addresses {
		parts = append(parts, a.String())
	}
	return strings.Join(parts, " ")
}

// info tells what is known. The backend is locked.
func (e *endpoint) info() network.EndpointInfo {
	info := network.EndpointInfo{
		Ref: e.ref, Network: e.segment.ref(), MAC: e.mac, Addresses: e.addresses, Source: e.source(),
		Aliases: e.aliases, For: e.meant, PluggedIn: e.plugged,
		Attachment: network.Attachment{MTU: e.segment.spec.MTU},
	}
	for _, s := range e.segment.subnets {
		info.Gateways = append(info.Gateways, s.Gateway)
	}
	return info
}

// source says how the addresses are known. A virtual machine has asked for them
// when it has booted; programs in a container find them there. The backend is
// locked.
func (e *endpoint) source() string {
	dhcp := slices.ContainsFunc(e.segment.subnets, func(s network.Subnet) bool { return s.DHCP })
	if i := e.instance; dhcp && e.plugged && i.spec.Kind == compute.VM && i.run != nil && i.run.ready {
		return "lease"
	}
	return "assigned"
}

// reserve makes an endpoint; where it fails it has done nothing. The backend is
// locked.
func (s *segment) reserve(spec network.EndpointSpec, owner string) (*endpoint, error) {
	b := s.space.backend
	e := &endpoint{
		segment: s, name: spec.Name, aliases: slices.Clone(spec.Aliases), mac: slices.Clone(spec.MAC), meant: spec.For,
		ref: resource.Ref{
			Provider: Scheme, Kind: resource.KindEndpoint, Namespace: s.space.name, Name: spec.Name,
			ID: b.newID(resource.KindEndpoint, s.id, owner),
		},
	}
	if s.macs[e.mac.String()] != nil {
		return nil, fieldError("mac", errdefs.ErrAlreadyExists, "%s is another endpoint's", e.mac)
	}
	for len(e.mac) == 0 || s.macs[e.mac.String()] != nil {
		var mac [8]byte
		binary.LittleEndian.PutUint64(mac[:], b.newToken("mac", s.id, owner))
		e.mac = network.HardwareAddr{2, mac[1], mac[2], mac[3], mac[4], mac[5]}
	}
	chosen := make([]netip.Addr, len(s.subnets))
	for k, a := range spec.Addresses {
		field := at("addresses", k)
		n := slices.IndexFunc(s.subnets, func(subnet network.Subnet) bool { return subnet.CIDR.Contains(a) })
		switch {
		case n < 0:
			return nil, fieldError(field, errdefs.ErrInvalidArgument, "%s is in no subnet of the network", a)
		case chosen[n].IsValid():
			return nil, fieldError(field, errdefs.ErrInvalidArgument, "is the second one of its subnet")
		case !isHost(s.subnets[n].CIDR, a):
			return nil, fieldError(field, errdefs.ErrInvalidArgument, "%s is no host's address in %s", a, s.subnets[n].CIDR)
		case a == s.subnets[n].Gateway || s.taken[a] != nil:
			return nil, fieldError(field, errdefs.ErrAlreadyExists, "%s is taken", a)
		}
		chosen[n] = a
	}
	for n, subnet := range s.subnets {
		if !chosen[n].IsValid() {
			var err error
			if chosen[n], err = s.free(n, owner); err != nil {
				return nil, err
			}
		}
		e.addresses = append(e.addresses, netip.PrefixFrom(chosen[n], subnet.CIDR.Bits()))
	}
	for n, a := range chosen {
		s.taken[a] = e
		s.used[n]++
	}
	s.macs[e.mac.String()] = e
	s.endpoints = append(s.endpoints, e)
	if s.space.endpoints == nil {
		s.space.endpoints = make(map[string]*endpoint)
	}
	s.space.endpoints[e.ref.ID] = e
	return e, nil
}

// free finds an address of a subnet that nobody has. Where it begins depends on who
// asks: those who ask at the same time get the same in every run of a test, unless
// they begin where another has been. The backend is locked.
func (s *segment) free(n int, owner string) (netip.Addr, error) {
	b, subnet := s.space.backend, s.subnets[n]
	if most := b.opts.Capacity.Addresses; most == 0 || s.used[n] < most {
		a := nth(subnet.First, subnet.Last, b.newToken("address", s.id, owner))
		// Besides the addresses in use there are three that no instance is given.
		for range s.used[n] + 4 {
			if a != subnet.Gateway && s.taken[a] == nil && isHost(subnet.CIDR, a) {
				return a, nil
			}
			if a = a.Next(); !a.IsValid() || subnet.Last.Less(a) {
				a = subnet.First
			}
		}
	}
	return netip.Addr{}, resource.Errorf(errdefs.ErrResourceExhausted, "no address of %s is left", subnet.CIDR)
}

// nth returns one of the addresses from first to last.
func nth(first, last netip.Addr, n uint64) netip.Addr {
	low, high := first.As16(), last.As16()
	// What the upper half of an address adds is more than anybody will ask for.
	from, to := binary.BigEndian.Uint64(low[8:]), binary.BigEndian.Uint64(high[8:])
	if size := to - from + 1; to >= from && size > 0 {
		n %= size
	}
	if n > math.MaxUint64-from {
		n = 0
	}
	binary.BigEndian.PutUint64(low[8:], from+n)
	a := netip.AddrFrom16(low)
	if first.Is4() {
		return a.Unmap()
	}
	return a
}

// isHost reports whether an address of a subnet can be a host's: neither the
// subnet's own nor the one that means everybody.
func isHost(subnet netip.Prefix, a netip.Addr) bool {
	return a != subnet.Addr() && !lastOf(subnet).Less(a)
}

// drop gives an endpoint up. The backend is locked.
func (e *endpoint) drop() {
	s := e.segment
	for n, a := range e.addresses {
		delete(s.taken, a.Addr())
		s.used[n]--
	}
	delete(s.macs, e.mac.String())
	s.endpoints = slices.DeleteFunc(s.endpoints, func(other *endpoint) bool { return other == e })
	delete(s.space.endpoints, e.ref.ID)
}

// Reserve makes an endpoint.
func (h *networkHandle) Reserve(ctx context.Context, spec network.EndpointSpec) (network.Endpoint, error) {
	var made *endpoint
	check := func() error {
		has := h.p.backend.offers.Networks
		return firstOf(spec.Validate().Err(),
			without(has, network.FeatureFixedAddress, "mac", len(spec.MAC) > 0),
			without(has, network.FeatureFixedAddress, "addresses", len(spec.Addresses) > 0),
			without(has, network.FeatureReserve, "for", spec.For.Provider != "" && spec.For.Provider != Scheme))
	}
	err := h.with(ctx, OpReserve, h.id, "", check, func(s *segment) error {
		var err error
		if made, err = s.reserve(spec, "reserved/"+spec.Name); err == nil {
			made.reserved = true
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &endpointHandle{h.p, h.id, made.ref.ID}, nil
}

// Endpoint returns the endpoint of an ID.
func (h *networkHandle) Endpoint(id string) network.Endpoint { return &endpointHandle{h.p, h.id, id} }

// Endpoints yields the network's endpoints that match, in the order of their
// making.
func (h *networkHandle) Endpoints(ctx context.Context, filter network.EndpointFilter) iter.Seq2[network.EndpointInfo, error] {
	return func(yield func(network.EndpointInfo, error) bool) {
		var all []network.EndpointInfo
		err := h.with(ctx, OpListEndpoints, h.id, "", nil, func(s *segment) error {
			for _, e := range s.endpoints {
				if info := e.info(); filter.Matches(info) {
					all = append(all, info)
				}
			}
			return nil
		})
		for _, info := range all {
			if err == nil {
				err = h.fail(OpListEndpoints, h.refOf(h.id), h.p.open(ctx))
			}
			if err != nil {
				break
			}
			if !yield(info, nil) {
				return
			}
		}
		if err != nil {
			yield(network.EndpointInfo{}, err)
		}
	}
}

// endpointHandle is a handle on an endpoint.
type endpointHandle struct {
	p       *Provider
	network string
	id      string
}

var _ network.Endpoint = (*endpointHandle)(nil)

// ID returns the endpoint's identity.
func (h *endpointHandle) ID() string { return h.id }

func (h *endpointHandle) with(ctx context.Context, op Op, act func(e *endpoint) error) error {
	p, b := h.p, h.p.backend
	ref := p.ref(resource.KindEndpoint, "", h.id)
	b.mu.Lock()
	if e := p.space.endpoints[h.id]; e != nil {
		ref = e.ref
	}
	b.mu.Unlock()
	err := p.open(ctx)
	var late call
	if err == nil {
		late, err = p.reach(ctx, op, target{ref: ref})
	}
	if err == nil {
		b.mu.Lock()
		if e := p.space.endpoints[h.id]; e != nil && e.segment.id == h.network {
			err = act(e)
		} else {
			err = resource.Errorf(errdefs.ErrNotFound, "there is no such endpoint")
		}
		b.mu.Unlock()
	}
	return resource.Fail(op.verb(), ref, late.done(err))
}

// Info reads the endpoint.
func (h *endpointHandle) Info(ctx context.Context) (network.EndpointInfo, error) {
	var info network.EndpointInfo
	err := h.with(ctx, OpEndpointInfo, func(e *endpoint) error {
		info = e.info()
		return nil
	})
	return info, err
}

// Release gives the endpoint up. One that an instance has is FailedPrecondition.
func (h *endpointHandle) Release(ctx context.Context) error {
	return h.with(ctx, OpReleaseEndpoint, func(e *endpoint) error {
		if e.instance != nil {
			return resource.Errorf(errdefs.ErrFailedPrecondition, "instance %q has the endpoint", e.instance.name)
		}
		e.drop()
		return nil
	})
}

// endpoints are the instance's, in the order of its spec. The backend is locked.
func (i *instance) endpoints() []*endpoint {
	if i.parts == nil {
		return nil
	}
	return i.parts.endpoints
}

// attachEndpoints reserves an endpoint for each of the spec's networks. It is
// part of Create: where it fails it has done nothing. The backend is locked.
func (i *instance) attachEndpoints(others strangers) error {
	for k, n := range i.spec.Networks {
		e, err := i.attachEndpoint(n, others)
		if err != nil {
			i.detachEndpoints()
			return underField(at("networks", k), err)
		}
		i.more().endpoints = append(i.parts.endpoints, e)
	}
	return nil
}

// attachEndpoint finds or makes one endpoint. The backend is locked.
func (i *instance) attachEndpoint(n compute.NetworkAttachment, others strangers) (*endpoint, error) {
	if n.Endpoint != "" {
		e, err := i.space.reserved(n.Endpoint, others)
		switch {
		case err != nil:
			return nil, err
		case e.instance != nil:
			return nil, fieldError("endpoint", errdefs.ErrFailedPrecondition, "instance %q has it", e.instance.name)
		case !e.info().Admits(i.ref()):
			return nil, fieldError("endpoint", errdefs.ErrFailedPrecondition, "it is meant for %s", e.meant)
		}
		e.instance = i
		return e, nil
	}
	s, ok := i.space.networks.find(n.Network)
	if !ok || s.making {
		return nil, fieldError("network", errdefs.ErrNotFound, "there is no network %s", resource.Quote(n.Network))
	}
	e, err := s.reserve(network.EndpointSpec{
		Name: i.name, Aliases: n.Aliases, MAC: n.MAC, Addresses: n.Addresses, For: i.ref(),
	}, "instance/"+i.name)
	if err != nil {
		return nil, err
	}
	e.instance = i
	return e, nil
}

// detachEndpoints is the undo of attachEndpoints, and part of Delete. It does
// nothing where nothing is attached. The backend is locked.
func (i *instance) detachEndpoints() {
	for _, e := range i.endpoints() {
		i.detachEndpoint(e)
	}
	if i.parts != nil {
		i.parts.endpoints = nil
	}
}

// cut ends the connections that go over an endpoint. The backend is locked.
func (i *instance) cut(e *endpoint) {
	if i.run == nil || i.run.over {
		return
	}
	for _, p := range i.run.processes {
		for _, a := range e.addresses {
			p.sockets.cut(a.Addr())
		}
	}
}

func (i *instance) detachEndpoint(e *endpoint) {
	e.instance, e.plugged = nil, false
	if !e.reserved {
		e.drop()
	}
}

// addressed reports whether the instance has an address on each of its networks,
// and at least one. The backend is locked.
func (i *instance) addressed() bool {
	for _, e := range i.endpoints() {
		if len(e.addresses) == 0 {
			return false
		}
	}
	return len(i.endpoints()) > 0
}

// reachable reports whether the instance has an address. The backend is locked.
func (i *instance) reachable() bool {
	return slices.ContainsFunc(i.endpoints(), func(e *endpoint) bool { return len(e.addresses) > 0 })
}

// plug plugs the endpoints in and takes the published ports. It is part of Start:
// where it fails it has done nothing. The backend is locked.
func (i *instance) plug() error {
	if err := i.publish(); err != nil {
		return err
	}
	for _, e := range i.endpoints() {
		e.plugged = true
		if i.state != compute.Suspended {
			// The counters are those of the run, which goes on after a suspension.
			e.received.Store(0)
			e.sent.Store(0)
		}
	}
	return nil
}

// unplug is the undo of plug, and part of the end of a run. The backend is
// locked.
func (i *instance) unplug() {
	for _, e := range i.endpoints() {
		e.plugged = false
	}
	i.unpublish()
}

// endpointInfos is Info.Endpoints. The backend is locked.
func (i *instance) endpointInfos() []network.EndpointInfo {
	var out []network.EndpointInfo
	for _, e := range i.endpoints() {
		out = append(out, e.info())
	}
	return out
}

// networkStats is Stats.Network. The backend is locked.
func (i *instance) networkStats() []compute.NetworkStats {
	var out []compute.NetworkStats
	for _, e := range i.endpoints() {
		received, sent := e.received.Load(), e.sent.Load()
		out = append(out, compute.NetworkStats{
			Endpoint: e.ref.ID, ReceiveBytes: received, TransmitBytes: sent,
			ReceivePackets: packets(received, e), TransmitPackets: packets(sent, e),
		})
	}
	return out
}

func packets(bytes int64, e *endpoint) int64 {
	return (bytes + int64(e.segment.spec.MTU) - 1) / int64(e.segment.spec.MTU)
}

// has reports whether an address is the instance's own. The backend is locked.
func (i *instance) has(ip netip.Addr) bool { return i.endpointAt(ip) != nil }

func (i *instance) endpointAt(ip netip.Addr) *endpoint {
	for _, e := range i.endpoints() {
		for _, a := range e.addresses {
			if a.Addr() == ip {
				return e
			}
		}
	}
	return nil
}

// route finds who has an address on one of the instance's networks, and the
// instance's own address there. The backend is locked.
func (i *instance) route(ip netip.Addr) (source netip.Addr, peer *instance) {
	for _, e := range i.endpoints() {
		other := e.segment.taken[ip]
		if other == nil || !other.plugged || !e.plugged {
			continue
		}
		for _, a := range e.addresses {
			if a.Masked().Contains(ip) {
				return a.Addr(), other.instance
			}
		}
	}
	return netip.Addr{}, nil
}

// counter returns what counts the bytes of the endpoint with an address, or nil.
// The backend is locked.
func (i *instance) counter(ip netip.Addr) func(received, sent int) {
	e := i.endpointAt(ip)
	if e == nil {
		return nil
	}
	return func(received, sent int) {
		e.received.Add(int64(received))
		e.sent.Add(int64(sent))
	}
}

// lookUp finds a name as the instance sees it. The backend is locked.
func (i *instance) lookUp(host string) []netip.Addr {
	host = strings.ToLower(host)
	if rooted := strings.TrimSuffix(host, "."); rooted == host {
		for _, domain := range i.spec.DNS.Search {
			if found := i.lookUpOne(host + "." + domain); len(found) > 0 {
				return found
			}
		}
	} else {
		host = rooted
	}
	return i.lookUpOne(host)
}

// lookUpOne finds a name as it is. The backend is locked.
func (i *instance) lookUpOne(host string) []netip.Addr {
	loopback := []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	if host == "localhost" {
		return loopback
	}
	if ip, ok := i.spec.DNS.Hosts[host]; ok {
		return []netip.Addr{ip}
	}
	var found []netip.Addr
	for _, own := range i.endpoints() {
		s := own.segment
		if s.spec.DNS.Disabled || !own.plugged {
			continue
		}
		short := strings.TrimSuffix(host, "."+s.spec.Domain)
		for _, e := range s.endpoints {
			if (e.name == short || slices.Contains(e.aliases, short)) && (e.plugged || e.instance == nil) {
				for _, a := range e.addresses {
					found = append(found, a.Addr())
				}
			}
		}
		found = append(found, s.spec.DNS.Hosts[host]...)
	}
	if len(found) == 0 && (host == i.spec.Hostname || host == i.name) {
		return loopback
	}
	return found
}

var _ compute.NetworkAttacher = (*handle)(nil)

// AttachNetwork adds an attachment, which programs that run can use at once.
func (h *handle) AttachNetwork(ctx context.Context, n compute.NetworkAttachment) error {
	err := h.p.open(ctx)
	if err == nil {
		err = n.Validate().Err()
	}
	var others strangers
	if err == nil {
		others, err = h.p.askOthers(ctx, []compute.NetworkAttachment{n}, func(_ int, name string) string { return name })
	}
	if err != nil {
		return h.fail(OpAttachNetwork, err)
	}
	return h.alter(ctx, OpAttachNetwork, func(i *instance) error {
		if err := i.settled(); err != nil {
			return err
		}
		if i.spec.NetworkMode != compute.NetworkAttached {
			return &resource.Error{Kind: errdefs.ErrFailedPrecondition, Field: "networkMode",
				Err: fmt.Errorf("the instance's network is %q", i.spec.NetworkMode)}
		}
		e, err := i.attachEndpoint(n, others)
		if err != nil {
			return err
		}
		if i.state.Active() {
			e.plugged = true
			e.received.Store(0)
			e.sent.Store(0)
		}
		i.more().endpoints = append(slices.Clip(i.parts.endpoints), e)
		spec := i.spec.Clone()
		spec.Networks = append(spec.Networks, n)
		i.respec(&spec)
		return nil
	})
}

// DetachNetwork removes the attachment of an endpoint.
func (h *handle) DetachNetwork(ctx context.Context, id string) error {
	return h.alter(ctx, OpDetachNetwork, func(i *instance) error {
		if err := i.settled(); err != nil {
			return err
		}
		n := slices.IndexFunc(i.endpoints(), func(e *endpoint) bool { return e.ref.ID == id })
		if n < 0 {
			return &resource.Error{Kind: errdefs.ErrNotFound, Field: "endpoint", Err: errors.New("the instance has no such endpoint")}
		}
		i.cut(i.parts.endpoints[n])
		i.detachEndpoint(i.parts.endpoints[n])
		i.parts.endpoints = slices.Delete(slices.Clone(i.parts.endpoints), n, n+1)
		spec := i.spec.Clone()
		spec.Networks = slices.Delete(spec.Networks, n, n+1)
		i.respec(&spec)
		return nil
	})
}
