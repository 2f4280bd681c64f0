//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
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
		use, err := p.plugOne(ctx, id, r.Name, a)
		if err != nil {
			return under(fmt.Sprintf("networks[%d]", n), err)
		}
		r.Nets = append(r.Nets, use)
	}
	return nil
}

// plugOne gives an instance an endpoint on one network. Faults name the fields of the
// attachment. One that was reserved is locked by the caller.
func (p *Provider) plugOne(ctx context.Context, id, name string, a compute.NetworkAttachment) (netUse, error) {
	if a.Endpoint != "" {
		use, err := p.plugReserved(ctx, id, name, a.Endpoint)
		if isNotFound(err) && len(p.opts.OtherNetworks) > 0 {
			use, err = p.plugOther(ctx, id, name, a.Endpoint)
		}
		return use, atField("endpoint", err)
	}
	use, err := p.plugNew(ctx, id, name, a)
	if isNotFound(err) {
		err = atField("network", err)
	}
	return use, err
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
		if err := p.unused(ctx, wanted); err != nil {
			return netUse{}, err
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
func (p *Provider) plugNew(ctx context.Context, id, name string, a compute.NetworkAttachment) (netUse, error) {
	d, err := networks{p}.records().find(ctx, a.Network)
	if err != nil {
		return netUse{}, err
	}
	e := endpointRecord{ID: resource.NewID(), Name: name, Aliases: a.Aliases, MAC: a.MAC, Holder: id, Own: true}
	h := &networkHandle{p, d.ID}
	err = h.alterNow(ctx, func(spec network.Spec, state *networkState) (err error) {
		if err = h.reserve(spec, state, e, a.Addresses); err == nil {
			e.MAC = state.Endpoints[len(state.Endpoints)-1].MAC
		}
		return err
	})
	return netUse{Network: d.ID, Libvirt: domainName(d.Namespace, d.Name), Endpoint: e.ID, MAC: e.MAC.String()}, err
}

// under puts the fields of an error below another.
func under(field string, err error) error {
	var own *resource.Error
	if faults := resource.FaultsOf(err); len(faults) > 0 {
		var below resource.Faults
		below.Under(field, faults)
		return below.Err()
	}
	if errors.As(err, &own) && own.Field != "" {
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

// unplug takes back the endpoints that an instance has, but for those to keep, and
// removes those that go with it.
func (p *Provider) unplug(ctx context.Context, id string, keep []netUse) error {
	docs, err := networks{p}.records().list(ctx)
	if err != nil {
		return err
	}
	has := func(e endpointRecord) bool { return e.Holder == id && !uses(keep, e.ID) }
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

// uses reports whether an endpoint is among those of an instance's record.
func uses(all []netUse, endpoint string) bool {
	return slices.ContainsFunc(all, func(u netUse) bool { return u.Endpoint == endpoint })
}

// unplugAny is unplug where there may be networks at all.
func (p *Provider) unplugAny(ctx context.Context, id string) error {
	if p.inProcess() {
		return nil
	}
	return p.unplug(ctx, id, nil)
}

// dropLost takes back the endpoints that an instance has and does not know of, all of
// them where there is no such instance. It is called with the instance locked.
func (p *Provider) dropLost(ctx context.Context, id string) error {
	d, err := p.read(ctx, id)
	switch {
	case isNotFound(err):
		return p.unplug(ctx, id, nil)
	case err != nil:
		return err
	case d.facts.record == nil || d.facts.fault != nil:
		return nil // nobody knows what it has
	}
	return p.unplug(ctx, id, d.facts.record.Nets)
}

// clearLost is dropLost where the change that it belongs to is over, one way or the
// other. What fails is done later.
func (p *Provider) clearLost(ctx context.Context, id string) {
	clean, cancel := p.cleanup(ctx)
	defer cancel()
	if p.dropLost(clean, id) != nil {
		p.later(ctx, func(ctx context.Context) bool {
			return p.locked(ctx, id, func() error { return p.dropLost(ctx, id) }) == nil
		})
	}
}

// segments are networks as they were read for a list.
type segments struct {
	own map[string]*segment
	// mute says that another provider's has let a call wait, and is not asked again.
	mute bool
}

// endpointsOf are the endpoints of an instance, in the order of its spec, and how many
// of its networks have not given the guest an address, as far as that shows. A network
// that is gone has no endpoints.
func (p *Provider) endpointsOf(ctx context.Context, d *domain, known *segments) (all []network.EndpointInfo, waiting int, err error) {
	if d.facts.record == nil {
		return nil, 1, nil
	}
	for _, use := range d.facts.record.Nets {
		if use.Other != nil {
			e := p.tellOther(ctx, use, d, known)
			if e.Source != "lease" {
				waiting++
			}
			all = append(all, e)
			continue
		}
		s, ok := known.own[use.Network]
		if !ok {
			if s, err = p.segment(ctx, use.Network); isNotFound(err) {
				s, err = nil, nil
			} else if err != nil {
				return nil, 0, err
			}
			if known.own == nil {
				known.own = map[string]*segment{}
			}
			known.own[use.Network] = s
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
		all = append(all, s.tell(e, d))
		if !s.reached(e, d) {
			waiting++
		}
	}
	return all, waiting, nil
}

// agentAnswer is how long a guest's agent may take to tell what is only good to know.
const agentAnswer = time.Second

// endpointsNow is endpointsOf for one instance. Where a network gives out no addresses
// the guest's agent is asked for them, and then the kernel of this host, which knows
// those that it spoke with; likewise where another provider's network does not know
// whether the guest has those that it assigned.
func (p *Provider) endpointsNow(ctx context.Context, d *domain) (all []network.EndpointInfo, waiting int, err error) {
	all, waiting, err = p.endpointsOf(ctx, d, new(segments))
	if err != nil || !d.state.Active() {
		return all, waiting, err
	}
	sources := []struct {
		name string
		ask  func(context.Context, *domain) (func(network.EndpointInfo) []netip.Prefix, error)
	}{{"agent", p.addressesByAgent}, {"arp", p.addressesByNeighbours}}
	sure := map[string]bool{}
	unsure := func(e network.EndpointInfo) bool {
		return silent(e) || e.Source == "assigned" && d.facts.record.other(e.Ref.ID) && !sure[e.Ref.ID]
	}
	for _, source := range sources {
		if !slices.ContainsFunc(all, unsure) {
			break
		}
		// What is not known from here, since an agent hangs say, is not known.
		addresses, err := source.ask(ctx, d)
		if err != nil {
			continue
		}
		for n := range all {
			e := &all[n]
			if !unsure(*e) {
				continue
			}
			seen := addresses(*e)
			if silent(*e) && len(seen) > 0 {
				e.Addresses, e.Source, e.Reason = seen, source.name, ""
			}
			if share(e.Addresses, seen) {
				sure[e.Ref.ID] = true
				waiting--
			}
		}
	}
	return all, waiting, ended(ctx)
}

// silent reports whether no address of an endpoint is known.
func silent(e network.EndpointInfo) bool { return len(e.Addresses) == 0 }

// addressesByAgent has a guest's agent tell the addresses.
func (p *Provider) addressesByAgent(ctx context.Context, d *domain) (func(network.EndpointInfo) []netip.Prefix, error) {
	if !d.agent {
		return nil, errors.ErrUnsupported
	}
	short, cancel := context.WithTimeout(ctx, agentAnswer)
	defer cancel()
	told, err := askFor[interfacesReply](short, qemuAgent{p: p, id: d.id, patience: agentAnswer}, "guest-network-get-interfaces", nil)
	return func(e network.EndpointInfo) []netip.Prefix { return told.of(e.MAC) }, err
}

// addressesByNeighbours has this host's kernel tell the addresses.
func (p *Provider) addressesByNeighbours(context.Context, *domain) (func(network.EndpointInfo) []netip.Prefix, error) {
	dir, err := p.procNet()
	if err != nil {
		return nil, err
	}
	table, err := os.ReadFile(filepath.Join(dir, "arp"))
	return func(e network.EndpointInfo) []netip.Prefix {
		return neighbours(string(table), e.MAC, e.Attachment.Bridge)
	}, err
}

// reached reports whether the guest has the addresses that were assigned to it, as
// far as that shows: it makes one of IPv6 by itself, sometime before its agent comes.
func (s *segment) reached(e endpointRecord, d *domain) bool {
	switch {
	case len(e.Addresses) == 0:
		return false
	case slices.ContainsFunc(e.Addresses, func(p netip.Prefix) bool { return p.Addr().Is4() }):
		return s.hasLease(e, d.facts.run)
	}
	return d.agent
}

// located adds to an info what is known of the instance's networks, of which so many
// have given the guest no address. What has no agent stays below the level of an
// address, but each endpoint says where its addresses are known from.
func located(info *compute.Info, endpoints []network.EndpointInfo, waiting int) {
	info.Endpoints = endpoints
	if len(endpoints) > 0 && waiting == 0 && info.Level == compute.LevelAgent {
		info.Level = compute.LevelAddress
	}
}
