//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"

	"github.com/containerd/errdefs"
	lv "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/outlive"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

func (h *networkHandle) networks() networks { return networks{h.p} }

// ID implements network.Network.
func (h *networkHandle) ID() string { return h.id }

func (h *networkHandle) fail(op string, err error) error {
	return resource.Fail(op, h.networks().ref("", h.id), err)
}

// load reads the network's record, if it is there.
func (h *networkHandle) load(ctx context.Context) (document, error) {
	if !resource.IsID(h.id) {
		return document{}, h.networks().records().errNone()
	}
	return h.networks().records().find(ctx, h.id)
}

// Info implements network.Network.
func (h *networkHandle) Info(ctx context.Context) (network.Info, error) {
	ctx, done, err := h.p.begin(ctx)
	if err != nil {
		return network.Info{}, h.fail("info", err)
	}
	defer done()
	d, err := h.load(ctx)
	var live *libvirtxml.Network
	if err == nil {
		live, err = h.live(ctx)
	}
	var info network.Info
	if err == nil {
		info, err = h.networks().info(d, live)
	}
	return info, h.fail("info", err)
}

// live is libvirt's network; nil where there is none.
func (h *networkHandle) live(ctx context.Context) (*libvirtxml.Network, error) {
	var out libvirtxml.Network
	err := h.networks().onNetwork(ctx, h.id, func(n *lv.Network) error {
		text, err := n.GetXMLDesc(0)
		if err != nil {
			return err
		}
		return out.Unmarshal(text)
	})
	if isNotFound(err) {
		return nil, nil
	}
	return &out, err
}

// change runs an operation that changes the network, when no other of this host is
// under way.
func (h *networkHandle) change(ctx context.Context, op string, do func(context.Context) error) error {
	ctx, done, err := h.p.begin(ctx)
	if err != nil {
		return h.fail(op, err)
	}
	defer done()
	if !resource.IsID(h.id) {
		return h.fail(op, h.networks().records().errNone())
	}
	return h.fail(op, h.alter(ctx, do))
}

func (h *networkHandle) alter(ctx context.Context, do func(context.Context) error) error {
	pass, err := h.p.turns.Take(ctx, h.id)
	if err != nil {
		return ended(ctx)
	}
	return h.p.seenThrough(ctx, compute.CleanupTimeout, func(ctx context.Context) error {
		defer pass()
		return h.p.locked(ctx, h.id, func() error { return do(ctx) })
	})
}

// Update implements network.Network.
func (h *networkHandle) Update(ctx context.Context, change network.Change) error {
	if err := change.Validate().Err(); err != nil {
		return h.fail("update", err)
	}
	return h.change(ctx, "update", func(ctx context.Context) error {
		var labels resource.Labels
		changed := false
		after, err := h.networks().records().amend(ctx, h.id, func(d document) (document, error) {
			before, state, err := h.present(ctx, d, change.IfRevision)
			if err != nil {
				return d, err
			}
			spec := before.Clone()
			spec.Labels = change.Labels.Apply(spec.Labels)
			spec.Annotations = resource.Annotations(change.Annotations.Apply(resource.Labels(spec.Annotations)))
			if faults := spec.Validate(); len(faults) > 0 {
				return d, faults.Err()
			}
			labels, changed = spec.Labels, len(resource.Diff(before, spec)) > 0
			if !changed {
				return d, nil
			}
			state.Changed++
			if d.Spec, err = network.Encode(spec); err != nil {
				return d, err
			}
			return state.into(d)
		})
		if err == nil && changed {
			h.p.tellRecord(after, labels, resource.ReasonUpdate)
		}
		return err
	})
}

// present reads a document that is to be changed.
func (h *networkHandle) present(ctx context.Context, d document, revision string) (network.Spec, networkState, error) {
	if d.hidden() {
		return network.Spec{}, networkState{}, h.networks().records().errNone()
	}
	spec, state, err := readNetwork(d)
	if have := state.revision(); err == nil && revision != "" && revision != have {
		err = &resource.Error{Kind: errdefs.ErrAborted, Field: "ifRevision", Err: errors.New("the revision is " + have + ", not " + revision)}
	}
	if err == nil {
		err = givenUp(ctx)
	}
	return spec, state, err
}

// Delete implements network.Network.
func (h *networkHandle) Delete(ctx context.Context, opts network.DeleteOptions) error {
	return h.change(ctx, "delete", func(ctx context.Context) error {
		_, err := h.load(ctx)
		if isNotFound(err) && opts.Force {
			return h.deleteForeign(ctx, err)
		}
		if err != nil {
			return err
		}
		return h.remove(ctx, opts.IfRevision, func(state networkState) error {
			if n := len(state.Endpoints); n > 0 {
				return resource.Errorf(errdefs.ErrFailedPrecondition, "the network has %d endpoints", n)
			}
			return nil
		})
	})
}

// remove removes a network, unless something on it says otherwise. From the first step
// on nobody sees it, and a sweep ends what is left half-way.
func (h *networkHandle) remove(ctx context.Context, revision string, check func(networkState) error) error {
	removed, err := h.networks().records().amend(ctx, h.id, func(d document) (document, error) {
		_, state, err := h.present(ctx, d, revision)
		if err == nil {
			err = check(state)
		}
		d.Home = h.p.home
		return d.begun(removing, h.p.owner.Generation, networkMakingTime), err
	})
	if err != nil {
		return err
	}
	if err = h.networks().discard(ctx, removed); err == nil {
		h.p.mortalNetworks.Remove(h.id)
		h.p.tellGone(removed.ref())
	}
	return err
}

// deleteForeign deletes what this library did not make.
func (h *networkHandle) deleteForeign(ctx context.Context, none error) error {
	managed, err := h.p.recordedIDs(ctx, resource.KindNetwork)
	if err != nil {
		return err
	}
	live, err := h.live(ctx)
	if err != nil {
		return err
	}
	if live == nil || managed[h.id] {
		return none
	}
	return h.networks().undefine(ctx, h.id)
}

// amend changes the network's endpoints, and brings libvirt's entries to them.
func (h *networkHandle) amend(ctx context.Context, change func(network.Spec, *networkState) error) error {
	before, err := h.networks().records().amend(ctx, h.id, func(d document) (document, error) {
		spec, state, err := h.present(ctx, d, "")
		if err == nil {
			err = change(spec, &state)
		}
		if err != nil {
			return d, err
		}
		return state.into(d)
	})
	if err != nil {
		return err
	}
	return h.synchronise(ctx, before)
}

// synchronise gives libvirt's network the entries that the record has. Another host
// may change that meanwhile: what is newer counts.
func (h *networkHandle) synchronise(ctx context.Context, d document) error {
	for {
		spec, state, err := readNetwork(d)
		if err != nil || spec.External == network.Bridged {
			return err
		}
		if err := changes(ctx); err != nil {
			return err
		}
		err = h.networks().onNetwork(ctx, h.id, func(n *lv.Network) error { return updateEntries(n, h.id, spec, state) })
		if err != nil && !isNotFound(err) {
			return fmt.Errorf("tell the network's server: %w", err)
		}
		now, err := h.load(ctx)
		if isNotFound(err) {
			return nil
		}
		if err != nil || now.Revision == d.Revision {
			return err
		}
		d = now
	}
}

// updateEntries changes a network's entries where they are not what they should be.
func updateEntries(n *lv.Network, id string, spec network.Spec, state networkState) error {
	text, err := n.GetXMLDesc(lv.NetworkXMLFlags(0))
	if err != nil {
		return err
	}
	var live libvirtxml.Network
	if err := live.Unmarshal(text); err != nil {
		return err
	}
	flags := lv.NETWORK_UPDATE_AFFECT_CONFIG
	if active, err := n.IsActive(); err != nil {
		return err
	} else if active {
		flags |= lv.NETWORK_UPDATE_AFFECT_LIVE
	}
	at := -1
	for i, s := range spec.Subnets {
		if s.CIDR.Addr().Is4() {
			at = i
		}
	}
	u := updatesOf(&live, id, spec, state)
	send := func(command lv.NetworkUpdateCommand, section lv.NetworkUpdateSection, parent int, text string, err error) error {
		if err != nil {
			return err
		}
		return n.Update(command, section, parent, text, flags)
	}
	var errs []error
	for _, host := range u.dropNames {
		text, err := (&libvirtxml.NetworkDNSHost{IP: host.IP}).Marshal()
		errs = append(errs, send(lv.NETWORK_UPDATE_COMMAND_DELETE, lv.NETWORK_SECTION_DNS_HOST, -1, text, err))
	}
	for _, host := range u.dropHosts {
		text, err := host.Marshal()
		errs = append(errs, send(lv.NETWORK_UPDATE_COMMAND_DELETE, lv.NETWORK_SECTION_IP_DHCP_HOST, at, text, err))
	}
	for _, host := range u.addHosts {
		text, err := host.Marshal()
		errs = append(errs, send(lv.NETWORK_UPDATE_COMMAND_ADD_LAST, lv.NETWORK_SECTION_IP_DHCP_HOST, at, text, err))
	}
	for _, host := range u.addNames {
		text, err := host.Marshal()
		errs = append(errs, send(lv.NETWORK_UPDATE_COMMAND_ADD_LAST, lv.NETWORK_SECTION_DNS_HOST, -1, text, err))
	}
	return errors.Join(errs...)
}

// Reserve implements network.Network.
func (h *networkHandle) Reserve(ctx context.Context, spec network.EndpointSpec) (network.Endpoint, error) {
	if err := spec.Validate().Err(); err != nil {
		return nil, h.fail("reserve", err)
	}
	id := resource.NewID()
	err := h.change(ctx, "reserve", func(ctx context.Context) error {
		err := h.amend(ctx, func(own network.Spec, state *networkState) error {
			return h.reserve(own, state, endpointRecord{ID: id, Name: spec.Name, Aliases: spec.Aliases, MAC: spec.MAC, For: spec.For}, spec.Addresses)
		})
		if err == nil {
			err = givenUp(ctx)
		}
		if err == nil || errors.Is(err, errdefs.ErrAlreadyExists) || errors.Is(err, errdefs.ErrResourceExhausted) || isNotFound(err) {
			return err
		}
		return h.undoReserve(ctx, id, err)
	})
	if err != nil {
		return nil, err
	}
	return h.Endpoint(id), nil
}

func (h *networkHandle) reserve(spec network.Spec, state *networkState, e endpointRecord, wanted []netip.Addr) error {
	if spec.External == network.Bridged && len(wanted) > 0 {
		return resource.Faults{{Field: "addresses", Reason: "must be empty on a bridged network: addresses are given by others"}}.Err()
	}
	_, err := state.reserve(h.id, spec.Subnets, e, wanted)
	return err
}

// undoReserve takes an endpoint back that may have been made.
func (h *networkHandle) undoReserve(ctx context.Context, id string, cause error) error {
	clean, cancel := h.p.cleanup(ctx)
	defer cancel()
	if err := h.drop(clean, id); err != nil && !isNotFound(err) {
		h.p.later(ctx, func(ctx context.Context) bool { err := h.drop(ctx, id); return err == nil || isNotFound(err) })
		return outlive.NotUndone(cause, err)
	}
	return undone(ctx, cause)
}

// drop removes an endpoint, whoever has it.
func (h *networkHandle) drop(ctx context.Context, id string) error {
	return h.amend(ctx, func(_ network.Spec, state *networkState) error {
		state.remove(id)
		return nil
	})
}

// Endpoint implements network.Network.
func (h *networkHandle) Endpoint(id string) network.Endpoint { return &endpoint{h, id} }

// Endpoints implements network.Network.
func (h *networkHandle) Endpoints(ctx context.Context, filter network.EndpointFilter) iter.Seq2[network.EndpointInfo, error] {
	return func(yield func(network.EndpointInfo, error) bool) {
		all, err := h.endpoints(ctx)
		if err != nil {
			yield(network.EndpointInfo{}, h.fail("endpoints", err))
			return
		}
		for _, info := range all {
			if filter.Matches(info) && !yield(info, nil) {
				return
			}
		}
	}
}

func (h *networkHandle) endpoints(ctx context.Context) ([]network.EndpointInfo, error) {
	ctx, done, err := h.p.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	s, err := h.p.segment(ctx, h.id)
	if err != nil {
		return nil, err
	}
	var out []network.EndpointInfo
	for _, e := range s.state.Endpoints {
		info, err := s.endpointInfo(ctx, e)
		if err != nil {
			return nil, err
		}
		out = append(out, info)
	}
	return out, nil
}
