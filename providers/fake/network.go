package fake

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// segment is the record of a network. The backend's lock guards it.
type segment struct {
	object
	// spec is never changed in place.
	spec *network.Spec
	// subnets are the spec's with the choices filled in.
	subnets []network.Subnet
	// endpoints are in the order of their making.
	endpoints []*endpoint
	// taken and macs are the addresses that endpoints have, and used counts them in
	// each subnet.
	taken map[netip.Addr]*endpoint
	macs  map[string]*endpoint
	used  []int
}

var _ stored = (*segment)(nil)

func (s *segment) lifetime() resource.Lifetime { return s.spec.Lifetime }

const defaultMTU = 1500

var (
	networkFeatures = func() resource.Features {
		features := resource.Features{}
		for _, feature := range network.Features() {
			features[feature] = resource.Support{Supported: true}
		}
		features[network.FeatureBridged] = resource.Support{Reason: "the fake has no host interfaces"}
		return features
	}()
	networkFields = resource.FieldTable{}.
			Honored(resource.FieldPaths(network.Spec{})...).
			Hint("nothing lies outside of the fake", "dns.upstream").
			Refused("the fake has no host interfaces", "bridge")
)

// networks are the networks of a value's namespace.
type networks struct{ collection[*segment] }

var _ network.Networks = networks{}

func (p *Provider) networksAccessor() network.Networks {
	if has := p.backend.offers.Networks[network.FeatureNetworks]; !has.Supported {
		return network.Absent(has.Reason)
	}
	return networks{collection[*segment]{p: p, kind: resource.KindNetwork, table: &p.space.networks}}
}

// Create makes a network.
func (n networks) Create(ctx context.Context, spec network.Spec) (network.Network, error) {
	p := n.p
	ref := p.ref(resource.KindNetwork, spec.Name, "")
	err := p.open(ctx)
	if err == nil {
		err = spec.Validate().Err()
	}
	if err == nil {
		err = firstOf(networkFields.Refuse(&spec), p.backend.checkNetwork(spec))
	}
	if err != nil {
		return nil, n.fail(OpCreateNetwork, ref, err)
	}
	own := spec.Clone()
	if own.External == "" {
		own.External = network.Isolated
	}
	if own.Domain == "" {
		own.Domain = own.Name
	}
	if own.MTU == 0 {
		own.MTU = defaultMTU
	}
	b := p.backend
	s, err := n.create(ctx, OpCreateNetwork, spec.Name, func() (*segment, error) {
		if most := b.opts.Capacity.Networks; most > 0 && b.used.networks >= most {
			return nil, resource.Errorf(errdefs.ErrResourceExhausted, "the host may have %d networks", most)
		}
		s := &segment{spec: &own, taken: map[netip.Addr]*endpoint{}, macs: map[string]*endpoint{}}
		if err := p.space.chooseSubnets(s); err != nil {
			return nil, err
		}
		s.object = b.newObject(p, resource.KindNetwork, own.Name)
		s.labels, s.annotations = own.Labels, own.Annotations
		b.used.networks++
		return s, nil
	}, func(*segment) error { return nil }, func(*segment) { b.used.networks-- })
	if err != nil {
		return nil, err
	}
	return n.handle(s), nil
}

// checkNetwork refuses what needs a feature that is not offered.
func (b *Backend) checkNetwork(spec network.Spec) error {
	has := b.offers.Networks
	errs := []error{
		without(has, network.FeatureNAT, "external", spec.External == network.NAT),
		without(has, network.FeatureRouted, "external", spec.External == network.Routed),
		without(has, network.FeatureBridged, "external", spec.External == network.Bridged),
		without(has, network.FeatureMTU, "mtu", spec.MTU != 0),
	}
	for n, subnet := range spec.Subnets {
		field := at("subnets", n)
		errs = append(errs,
			without(has, network.FeatureIPv4, field+".cidr", subnet.CIDR.Addr().Is4()),
			without(has, network.FeatureIPv6, field+".cidr", subnet.CIDR.Addr().Is6()),
			without(has, network.FeatureDHCP, field+".dhcp", subnet.DHCP))
	}
	return firstOf(errs...)
}

// chooseSubnets fills in what the spec leaves to the network. The backend is
// locked.
func (s *space) chooseSubnets(n *segment) error {
	others := s.networks.sorted()
	clash := func(subnets []network.Subnet) *segment {
		for _, other := range others {
			if _, _, found := network.Overlaps(subnets, other.subnets); found {
				return other
			}
		}
		return nil
	}
	n.subnets = slices.Clone(n.spec.Subnets)
	if len(n.subnets) == 0 {
		// Where the choice begins depends on the name, not on the order of creation.
		var seed [8]byte
		binary.LittleEndian.PutUint64(seed[:], s.backend.newToken("subnet", s.name, n.spec.Name))
		at := binary.LittleEndian.Uint16(seed[:])
		for try := 0; ; try++ {
			n.subnets = []network.Subnet{{CIDR: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(at >> 8), byte(at), 0}), 24)}}
			if clash(n.subnets) == nil {
				break
			}
			if at++; try == 1<<16 {
				return resource.Errorf(errdefs.ErrResourceExhausted, "no subnet is left")
			}
		}
	} else if other := clash(n.subnets); other != nil {
		return &resource.Error{Kind: errdefs.ErrAlreadyExists, Field: "subnets",
			Err: fmt.Errorf("a subnet overlaps one of network %q", other.name)}
	}
	for k := range n.subnets {
		subnet := &n.subnets[k]
		if !subnet.Gateway.IsValid() {
			subnet.Gateway = subnet.CIDR.Addr().Next()
		}
		if !subnet.First.IsValid() {
			subnet.First = subnet.CIDR.Addr().Next()
		}
		if !subnet.Last.IsValid() {
			subnet.Last = lastOf(subnet.CIDR)
		}
		if !isHost(subnet.CIDR, subnet.Gateway) {
			return fieldError(at("subnets", k)+".gateway", errdefs.ErrInvalidArgument, "%s is no host's address in %s", subnet.Gateway, subnet.CIDR)
		}
		n.used = append(n.used, 0)
	}
	return nil
}

// lastOf is the last address of a subnet that a host may have.
func lastOf(subnet netip.Prefix) netip.Addr {
	raw := subnet.Addr().AsSlice()
	for bit := subnet.Bits(); bit < len(raw)*8; bit++ {
		raw[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(raw)
	if last.Is4() {
		// The very last one is for everybody.
		last = last.Prev()
	}
	return last
}

// Get returns the network of an ID or a name.
func (n networks) Get(ctx context.Context, idOrName string) (network.Network, error) {
	s, err := n.get(ctx, OpGetNetwork, idOrName)
	if err != nil {
		return nil, err
	}
	return n.handle(s), nil
}

// handle returns one that knows the network's name, which never changes.
func (n networks) handle(s *segment) *networkHandle {
	n.name = s.name
	return &networkHandle{n, s.id}
}

// Handle returns the network of an ID.
func (n networks) Handle(id string) network.Network { return &networkHandle{n, id} }

// List yields the networks that match, in the order of their creation.
func (n networks) List(ctx context.Context, filter network.Filter) iter.Seq2[network.Info, error] {
	s := selection{names: filter.Names, ids: filter.IDs, selector: filter.Selector, unmanaged: filter.Unmanaged}
	return list(ctx, n.collection, OpListNetworks, filter.Validate(), s, func(s *segment) (network.Info, bool) {
		info := s.info()
		return info, filter.Matches(info)
	})
}

// info tells what is known. The backend is locked.
func (s *segment) info() network.Info {
	return network.Info{
		Ref: s.ref(), Managed: s.managed, Owner: *s.owner, Spec: s.spec, Subnets: s.subnets,
		MTU: s.spec.MTU, Domain: s.spec.Domain, Endpoints: len(s.endpoints),
		Labels: s.labels, Annotations: s.annotations, Created: s.created, Revision: s.revisionText(),
	}
}

// removeSegment takes a network away with the endpoints that were reserved, or says
// which instance is on it. The backend is locked.
func (s *space) removeSegment(n *segment) error {
	for _, e := range n.endpoints {
		if e.instance != nil {
			return resource.Errorf(errdefs.ErrFailedPrecondition, "%s is on the network", e.instance.ref().Label())
		}
	}
	for _, e := range slices.Clone(n.endpoints) {
		e.drop()
	}
	s.networks.remove(n)
	s.backend.used.networks--
	if !n.making {
		s.emit(n, resource.EventDeleted, "")
	}
	return nil
}

// dump writes what Dump says of a network.
func (s *segment) dump(d *dumper) {
	for _, subnet := range s.subnets {
		d.line("subnet", subnet.CIDR.String())
	}
	d.line("external", string(s.spec.External))
	var reserved []string
	for _, e := range s.endpoints {
		if e.reserved {
			reserved = append(reserved, strings.TrimSpace(e.name+" "+e.text()))
		}
	}
	// Who was first is a matter of goroutines that race.
	slices.Sort(reserved)
	for _, text := range reserved {
		d.line("endpoint", text)
	}
}

// networkHandle is a handle on a network.
type networkHandle struct {
	networks
	id string
}

var _ network.Network = (*networkHandle)(nil)

// ID returns the network's identity.
func (h *networkHandle) ID() string { return h.id }

// Info reads the network.
func (h *networkHandle) Info(ctx context.Context) (network.Info, error) {
	var info network.Info
	err := h.with(ctx, OpNetworkInfo, h.id, "", nil, func(s *segment) error {
		info = s.info()
		return nil
	})
	return info, err
}

// Update changes labels and annotations.
func (h *networkHandle) Update(ctx context.Context, change network.Change) error {
	check := func() error { return change.Validate().Err() }
	return h.with(ctx, OpUpdateNetwork, h.id, change.IfRevision, check, func(s *segment) error {
		spec := s.spec.Clone()
		spec.Labels = change.Labels.Apply(spec.Labels)
		spec.Annotations = resource.Annotations(change.Annotations.Apply(resource.Labels(spec.Annotations)))
		if len(resource.Diff(*s.spec, spec)) == 0 {
			return nil
		}
		s.spec = &spec
		h.changed(s, spec.Labels, spec.Annotations)
		return nil
	})
}

// Delete removes the network.
func (h *networkHandle) Delete(ctx context.Context, opts network.DeleteOptions) error {
	return h.with(ctx, OpDeleteNetwork, h.id, opts.IfRevision, nil, func(s *segment) error {
		if len(s.endpoints) > 0 {
			return resource.Errorf(errdefs.ErrFailedPrecondition, "the network has %d endpoints", len(s.endpoints))
		}
		return h.p.space.removeSegment(s)
	})
}
