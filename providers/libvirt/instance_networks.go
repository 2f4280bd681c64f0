//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/outlive"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// plug gives an instance that is about to be made an endpoint on each of its
// networks. Whoever calls it takes them back where it fails.
func (p *Provider) plug(ctx context.Context, id string, r *record) error {
	for n, a := range r.spec.Networks {
		field := fmt.Sprintf("networks[%d]", n)
		var use netUse
		var err error
		if a.Endpoint != "" {
			use, err = p.plugReserved(ctx, id, r.Name, a.Endpoint)
			err = atField(field+".endpoint", err)
		} else {
			use, err = p.plugNew(ctx, id, r.Name, field, a)
		}
		if err != nil {
			return err
		}
		r.Nets = append(r.Nets, use)
	}
	return nil
}

// plugReserved takes an endpoint that is there.
func (p *Provider) plugReserved(ctx context.Context, id, name, wanted string) (netUse, error) {
	docs, err := networks{p}.records().list(ctx)
	if err != nil {
		return netUse{}, err
	}
	for _, d := range docs {
		state, err := readNetworkState(d)
		if err != nil || d.hidden() || state.find(wanted) < 0 {
			continue
		}
		var use netUse
		h := &networkHandle{p, d.ID}
		err = h.alterNow(ctx, func(_ network.Spec, state *networkState) error {
			at := state.find(wanted)
			if at < 0 {
				return errNoEndpoint()
			}
			e := &state.Endpoints[at]
			if e.Holder != "" {
				return resource.Errorf(errdefs.ErrFailedPrecondition, "instance %s has the endpoint", e.Holder)
			}
			if !(network.EndpointInfo{For: e.For}).Admits(p.ref(resource.KindInstance, name, id)) {
				return resource.Errorf(errdefs.ErrFailedPrecondition, "the endpoint is meant for %s", e.For.Label())
			}
			e.Holder = id
			use = netUse{Network: d.ID, Libvirt: domainName(d.Namespace, d.Name), Endpoint: e.ID, MAC: e.MAC.String()}
			return nil
		})
		if isNotFound(err) {
			err = errNoEndpoint()
		}
		return use, err
	}
	return netUse{}, errNoEndpoint()
}

// plugNew makes an endpoint that goes with the instance.
func (p *Provider) plugNew(ctx context.Context, id, name, field string, a compute.NetworkAttachment) (netUse, error) {
	d, err := networks{p}.records().find(ctx, a.Network)
	if err != nil {
		return netUse{}, atField(field+".network", err)
	}
	e := endpointRecord{ID: resource.NewID(), Name: name, Aliases: a.Aliases, MAC: a.MAC, Holder: id, Own: true}
	h := &networkHandle{p, d.ID}
	err = h.alterNow(ctx, func(spec network.Spec, state *networkState) (err error) {
		if err = h.reserve(spec, state, e, a.Addresses); err == nil {
			e.MAC = state.Endpoints[len(state.Endpoints)-1].MAC
		}
		return err
	})
	if err != nil {
		return netUse{}, under(field, err)
	}
	return netUse{Network: d.ID, Libvirt: domainName(d.Namespace, d.Name), Endpoint: e.ID, MAC: e.MAC.String()}, nil
}

// under puts the fields of an error below another.
func under(field string, err error) error {
	var own *resource.Error
	switch faults := resource.FaultsOf(err); {
	case len(faults) > 0:
		var below resource.Faults
		below.Under(field, faults)
		return below.Err()
	case isNotFound(err):
		return atField(field+".network", err)
	case errors.As(err, &own) && own.Field != "":
		out := *own
		out.Field = field + "." + own.Field
		return &out
	}
	return atField(field, err)
}

// alterNow is amend for a change that is under way already, with the network's turn.
func (h *networkHandle) alterNow(ctx context.Context, change func(network.Spec, *networkState) error) error {
	pass, err := h.p.turns.Take(outlive.Asked(ctx), h.id)
	if err != nil {
		return givenUp(ctx)
	}
	defer pass()
	return h.p.locked(ctx, h.id, func() error { return h.amend(ctx, change) })
}

// unplug takes back the endpoints that an instance has, and removes those that go
// with it.
func (p *Provider) unplug(ctx context.Context, id string) error {
	docs, err := networks{p}.records().list(ctx)
	if err != nil {
		return err
	}
	has := func(e endpointRecord) bool { return e.Holder == id }
	var errs []error
	for _, d := range docs {
		state, err := readNetworkState(d)
		if err != nil || d.hidden() || !slices.ContainsFunc(state.Endpoints, has) {
			continue
		}
		h := &networkHandle{p, d.ID}
		err = h.alterNow(ctx, func(_ network.Spec, state *networkState) error {
			state.Endpoints = slices.DeleteFunc(slices.Clone(state.Endpoints), func(e endpointRecord) bool { return has(e) && e.Own })
			for n := range state.Endpoints {
				if has(state.Endpoints[n]) {
					state.Endpoints[n].Holder = ""
				}
			}
			return nil
		})
		if !isNotFound(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// unplugAny is unplug where there may be networks at all.
func (p *Provider) unplugAny(ctx context.Context, id string) error {
	if p.inProcess() {
		return nil
	}
	return p.unplug(ctx, id)
}

// undoPlug takes back the endpoints of an instance that was not made.
func (p *Provider) undoPlug(ctx context.Context, id string) {
	clean, cancel := p.cleanup(ctx)
	defer cancel()
	clean, end := outlive.Context(clean, 0)
	defer end()
	if err := p.unplug(clean, id); err != nil {
		p.later(func(ctx context.Context) bool { return p.unplug(ctx, id) == nil })
	}
}

// segments are networks as they were read for a list.
type segments map[string]*segment

// endpointsOf are the endpoints of an instance, in the order of its spec, and how many
// of its networks have not given the guest an address, as far as that shows. A network
// that is gone has no endpoints.
func (p *Provider) endpointsOf(ctx context.Context, d *domain, known segments) (all []network.EndpointInfo, waiting int, err error) {
	if d.facts.record == nil {
		return nil, 1, nil
	}
	for _, use := range d.facts.record.Nets {
		s, ok := known[use.Network]
		if !ok {
			if s, err = p.segment(ctx, use.Network); isNotFound(err) {
				s, err = nil, nil
			} else if err != nil {
				return nil, 0, err
			}
			known[use.Network] = s
		}
		at := -1
		if s != nil {
			at = s.state.find(use.Endpoint)
		}
		if at < 0 {
			waiting++
			continue
		}
		e := s.state.Endpoints[at]
		all = append(all, s.tell(e, d.state.Active()))
		if !s.reached(e) {
			waiting++
		}
	}
	return all, waiting, nil
}

// agentAnswer is how long a guest's agent may take to tell what is only good to know.
const agentAnswer = time.Second

// endpointsNow is endpointsOf for one instance. Where a network gives out no addresses
// the guest's agent is asked for them.
func (p *Provider) endpointsNow(ctx context.Context, d *domain) (all []network.EndpointInfo, waiting int, err error) {
	all, waiting, err = p.endpointsOf(ctx, d, segments{})
	silent := func(e network.EndpointInfo) bool { return len(e.Addresses) == 0 }
	if err != nil || !d.agent || !slices.ContainsFunc(all, silent) {
		return all, waiting, err
	}
	short, cancel := context.WithTimeout(ctx, agentAnswer)
	defer cancel()
	told, err := askFor[interfacesReply](short, qemuAgent{p: p, id: d.id, hasty: true}, "guest-network-get-interfaces", nil)
	if err != nil {
		// Not from the agent, then: it may hang, or not know that command.
		return all, waiting, ended(ctx)
	}
	for n := range all {
		if e := &all[n]; silent(*e) {
			if e.Addresses = told.of(e.MAC); len(e.Addresses) > 0 {
				e.Source, e.Reason = "agent", ""
				waiting--
			}
		}
	}
	return all, waiting, nil
}

// reached reports whether the guest has the addresses that were assigned to it, as
// far as that shows: it makes one of IPv6 by itself.
func (s *segment) reached(e endpointRecord) bool {
	if len(e.Addresses) == 0 {
		return false
	}
	return s.hasLease(e) || !slices.ContainsFunc(e.Addresses, func(p netip.Prefix) bool { return p.Addr().Is4() })
}

// withNetworks adds to an info what is known of the instance's networks.
func withNetworks(d *domain, info *compute.Info, of func() (all []network.EndpointInfo, waiting int, err error)) error {
	if d.facts.record == nil || len(d.facts.record.Nets) == 0 {
		return nil
	}
	all, waiting, err := of()
	if err != nil {
		return err
	}
	info.Endpoints = all
	if waiting == 0 && d.state == compute.Running {
		info.Level = max(info.Level, compute.LevelAddress)
	}
	return nil
}
