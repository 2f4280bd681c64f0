//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"time"

	"github.com/containerd/errdefs"
	lv "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/outlive"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// networks are libvirt's own: a bridge with its server for DHCP and names. A network's
// name there is the namespace's and its own with a dot between them, and its UUID its
// ID; all else that the contract asks for is in its record.
type networks struct{ p *Provider }

var _ network.Networks = networks{}

// networkHandle is a handle on a network.
type networkHandle struct {
	p  *Provider
	id string
}

var _ network.Network = (*networkHandle)(nil)

func (n networks) records() records { return records{n.p, resource.KindNetwork} }

func (n networks) ref(name, id string) resource.Ref { return n.p.ref(resource.KindNetwork, name, id) }

// Create implements network.Networks.
func (n networks) Create(ctx context.Context, spec network.Spec) (network.Network, error) {
	ref := n.ref(spec.Name, "")
	ctx, done, err := n.p.begin(ctx)
	if err != nil {
		return nil, resource.Fail("create", ref, err)
	}
	defer done()
	err = spec.Validate().Err()
	if err == nil {
		err = NetworkFields().Refuse(&spec)
	}
	if err == nil {
		err = checkNetwork(spec)
	}
	if err != nil {
		return nil, resource.Fail("create", ref, err)
	}
	id := resource.NewID()
	err = n.p.seenThrough(ctx, compute.CleanupTimeout, func(ctx context.Context) error { return n.create(ctx, id, spec) })
	if err != nil {
		return nil, resource.Fail("create", ref, err)
	}
	if spec.Lifetime.Ephemeral {
		n.p.mortalNetworks.Add(id)
	}
	n.p.tellRecord(document{Kind: resource.KindNetwork, Namespace: n.p.opts.Namespace, Name: spec.Name, ID: id}, spec.Labels, resource.ReasonCreate)
	return &networkHandle{n.p, id}, nil
}

// networkMakingTime is how long whoever makes a network is believed to be about it.
const networkMakingTime = time.Minute

func (n networks) create(ctx context.Context, id string, spec network.Spec) error {
	// What is looked at is to be as it was until the network is there.
	pass, err := n.p.turns.Take(ctx, "subnets")
	if err != nil {
		return givenUp(ctx)
	}
	defer pass()
	own := networkChoices(spec)
	if err := n.chooseSubnet(ctx, id, &own); err != nil {
		return err
	}
	text, err := network.Encode(own)
	if err != nil {
		return err
	}
	if err := givenUp(ctx); err != nil {
		return err
	}
	d := document{ID: id, Name: spec.Name, Owner: n.p.owner, Created: time.Now().UTC(), Spec: text}
	made, err := n.records().create(ctx, d.begun(making, n.p.owner.Generation, networkMakingTime))
	if errors.Is(err, errdefs.ErrAlreadyExists) {
		return err
	}
	if err == nil {
		err = n.define(ctx, made, own)
	} else {
		made = d
		made.Kind, made.Namespace, made.Revision = resource.KindNetwork, n.p.opts.Namespace, 1
	}
	if err == nil {
		err = givenUp(ctx)
	}
	if err == nil {
		_, err = n.records().revise(ctx, made.ended())
	}
	if err == nil {
		if err = givenUp(ctx); err == nil {
			return nil
		}
	}
	return n.undo(ctx, made, err)
}

// chooseSubnet finds a subnet where the spec has none, and refuses those that others
// have.
func (n networks) chooseSubnet(ctx context.Context, id string, spec *network.Spec) error {
	if spec.External == network.Bridged {
		return nil
	}
	taken, err := n.p.allSubnets(ctx)
	if err != nil {
		return err
	}
	if _, other, clash := network.Overlaps(spec.Subnets, taken); clash {
		return &resource.Error{Kind: errdefs.ErrAlreadyExists, Field: "subnets", Err: fmt.Errorf("overlap %s of another network", other)}
	}
	if len(spec.Subnets) > 0 {
		return nil
	}
	cidr, err := subnetFor(id, func(p netip.Prefix) bool {
		_, _, clash := network.Overlaps([]network.Subnet{{CIDR: p}}, taken)
		return clash
	})
	spec.Subnets = []network.Subnet{subnetChoices(network.Subnet{CIDR: cidr})}
	return err
}

// allSubnets are those of all of the hypervisor's networks.
func (p *Provider) allSubnets(ctx context.Context) ([]network.Subnet, error) {
	return call(ctx, p, func(c *lv.Connect) (out []network.Subnet, err error) {
		all, err := c.ListAllNetworks(0)
		if err != nil {
			return nil, err
		}
		for i := range all {
			text, readErr := all[i].GetXMLDesc(0)
			_ = all[i].Free()
			var n libvirtxml.Network
			if readErr == nil && n.Unmarshal(text) == nil {
				out = append(out, subnetsOf(&n)...)
			}
		}
		return out, nil
	})
}

// define makes libvirt's network of a record, and starts it.
func (n networks) define(ctx context.Context, d document, spec network.Spec) error {
	state, err := readNetworkState(d)
	if err != nil {
		return err
	}
	text, err := describeNetwork(d.ID, domainName(d.Namespace, d.Name), spec, state)
	if err != nil {
		return err
	}
	if err := changes(ctx); err != nil {
		return err
	}
	err = act(ctx, n.p, func(c *lv.Connect) error {
		made, err := c.NetworkDefineXML(text)
		if err != nil {
			return err
		}
		defer made.Free()
		if err := made.Create(); err != nil {
			return err
		}
		return made.SetAutostart(true)
	})
	var own *resource.Error
	switch {
	case err == nil, !errors.As(err, &own), own.Field != "":
	case errors.Is(err, errdefs.ErrAlreadyExists):
		return &resource.Error{Kind: errdefs.ErrAlreadyExists, Field: "name", Err: errors.New("is that of a network of libvirt's, " + domainName(d.Namespace, d.Name))}
	}
	return err
}

// undo removes what a Create has made that failed.
func (n networks) undo(ctx context.Context, d document, cause error) error {
	if outlive.Asked(ctx).Err() != nil {
		cause = givenUp(ctx)
	}
	clean, cancel := n.p.cleanup(ctx)
	defer cancel()
	if err := n.discard(clean, d); err != nil {
		n.p.later(ctx, func(ctx context.Context) bool { return n.discard(ctx, d) == nil })
		return outlive.NotUndone(cause, err, n.ref(d.Name, d.ID))
	}
	return undone(ctx, cause)
}

// discard removes libvirt's network and the record.
func (n networks) discard(ctx context.Context, d document) error {
	if err := n.undefine(ctx, d.ID); err != nil {
		return err
	}
	return n.records().remove(ctx, d)
}

// undefine removes libvirt's network; that there is none is nil. Of two who do so at
// once one may be told that a file of it is missing.
func (n networks) undefine(ctx context.Context, id string) error {
	if err := changes(ctx); err != nil {
		return err
	}
	err := n.onNetwork(ctx, id, func(found *lv.Network) error {
		if err := found.Destroy(); err != nil && !errors.Is(err, lv.ERR_OPERATION_INVALID) {
			return err
		}
		return found.Undefine()
	})
	if err != nil && !uncertain(err) {
		if gone := n.onNetwork(ctx, id, func(*lv.Network) error { return nil }); isNotFound(gone) {
			return nil
		}
	}
	return err
}

func (n networks) onNetwork(ctx context.Context, id string, do func(*lv.Network) error) error {
	return act(ctx, n.p, func(c *lv.Connect) error {
		found, err := c.LookupNetworkByUUIDString(id)
		if err != nil {
			return err
		}
		defer found.Free()
		return do(found)
	})
}

// Get implements network.Networks.
func (n networks) Get(ctx context.Context, idOrName string) (network.Network, error) {
	ref := n.ref(idOrName, "")
	if resource.IsID(idOrName) {
		ref = n.ref("", idOrName)
	} else if reason := resource.CheckName(idOrName); reason != "" {
		return nil, resource.Fail("get", n.ref("", ""), resource.Faults{{Field: "idOrName", Reason: reason}})
	}
	ctx, done, err := n.p.begin(ctx)
	if err != nil {
		return nil, resource.Fail("get", ref, err)
	}
	defer done()
	d, err := n.records().find(ctx, idOrName)
	if err != nil {
		return nil, resource.Fail("get", ref, err)
	}
	return &networkHandle{n.p, d.ID}, nil
}

// Handle implements network.Networks.
func (n networks) Handle(id string) network.Network { return &networkHandle{n.p, id} }

// List implements network.Networks.
func (n networks) List(ctx context.Context, filter network.Filter) iter.Seq2[network.Info, error] {
	return func(yield func(network.Info, error) bool) {
		all, err := n.list(ctx, filter)
		if err != nil {
			yield(network.Info{}, resource.Fail("list", n.ref("", ""), err))
			return
		}
		for _, info := range all {
			if !yield(info, nil) {
				return
			}
		}
	}
}

func (n networks) list(ctx context.Context, filter network.Filter) ([]network.Info, error) {
	ctx, done, err := n.p.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := filter.Validate().Err(); err != nil {
		return nil, err
	}
	docs, err := n.records().list(ctx)
	if err != nil {
		return nil, err
	}
	live, err := n.p.liveNetworks(ctx)
	if err != nil {
		return nil, err
	}
	var out []network.Info
	for _, d := range docs {
		if d.hidden() {
			continue
		}
		info, err := n.info(d, live[d.ID])
		if err != nil {
			return nil, err
		}
		if filter.Matches(info) {
			out = append(out, info)
		}
	}
	if !filter.Unmanaged {
		return out, nil
	}
	managed, err := n.p.recordedIDs(ctx, resource.KindNetwork)
	if err != nil {
		return nil, err
	}
	for id, found := range live {
		if info := n.foreign(id, found); !managed[id] && filter.Matches(info) {
			out = append(out, info)
		}
	}
	return out, nil
}

// recordedIDs are the IDs of all namespaces' records of a kind.
func (p *Provider) recordedIDs(ctx context.Context, kind resource.Kind) (map[string]bool, error) {
	files, err := p.filesIn(ctx, p.opts.Pool)
	if err != nil {
		return nil, err
	}
	ids := map[string]bool{}
	for _, file := range files {
		if at, ok := parsePlace(file); ok && at.kind == kind && at.id != "" {
			ids[at.id] = true
		}
	}
	return ids, nil
}

// liveNetworks are libvirt's, by UUID.
func (p *Provider) liveNetworks(ctx context.Context) (map[string]*libvirtxml.Network, error) {
	return call(ctx, p, func(c *lv.Connect) (map[string]*libvirtxml.Network, error) {
		all, err := c.ListAllNetworks(0)
		if err != nil {
			return nil, err
		}
		out := make(map[string]*libvirtxml.Network, len(all))
		for i := range all {
			text, err := all[i].GetXMLDesc(0)
			_ = all[i].Free()
			var n libvirtxml.Network
			if err == nil && n.Unmarshal(text) == nil {
				out[n.UUID] = &n
			}
		}
		return out, nil
	})
}

// info is what is known of a network; live is nil where libvirt's is gone.
func (n networks) info(d document, live *libvirtxml.Network) (network.Info, error) {
	if d.fault != nil {
		return network.Info{Ref: n.ref(d.Name, d.ID), Managed: true}, nil
	}
	spec, state, err := readNetwork(d)
	if err != nil {
		return network.Info{}, err
	}
	info := network.Info{
		Ref: n.ref(d.Name, d.ID), Managed: true, Owner: d.Owner, Spec: &spec, Subnets: spec.Subnets, MTU: spec.MTU, Domain: spec.Domain,
		Bridge: spec.Bridge, Endpoints: len(state.Endpoints), Labels: spec.Labels, Annotations: spec.Annotations,
		Created: d.Created, Revision: state.revision(),
	}
	if live != nil && live.Bridge != nil {
		info.Bridge = live.Bridge.Name
	}
	return info, nil
}

func (n networks) foreign(id string, live *libvirtxml.Network) network.Info {
	info := network.Info{Ref: n.ref("", id), Subnets: subnetsOf(live)}
	if resource.CheckName(live.Name) == "" {
		info.Ref.Name = live.Name
	}
	if live.Bridge != nil {
		info.Bridge = live.Bridge.Name
	}
	return info
}

func readNetwork(d document) (network.Spec, networkState, error) {
	spec, err := network.Decode(d.Spec)
	if err != nil {
		return spec, networkState{}, resource.Errorf(errdefs.ErrDataLoss, "the network's record cannot be read: %w", err)
	}
	state, err := readNetworkState(d)
	return spec, state, err
}
