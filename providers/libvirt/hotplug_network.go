//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

var _ compute.NetworkAttacher = (*instance)(nil)

// AttachNetwork implements compute.NetworkAttacher: the endpoint comes first, which
// is the instance's from then on, then the domain's description for later runs.
func (i *instance) AttachNetwork(ctx context.Context, attachment compute.NetworkAttachment) error {
	return i.rewire(ctx, "attach network", func(ctx context.Context) (*record, error) {
		d, err := i.loadOwned(ctx, "")
		if err != nil {
			return nil, err
		}
		if err := pluggable(d.state); err != nil {
			return nil, err
		}
		before := *d.facts.record
		if mode := before.spec.NetworkMode; mode != compute.NetworkAttached {
			return nil, &resource.Error{Kind: errdefs.ErrFailedPrecondition, Field: "networkMode", Err: fmt.Errorf("the instance's network is %q", mode)}
		}
		if err := givenUp(ctx); err != nil {
			return nil, err
		}
		var after *record
		err = i.p.lockedEndpoints(ctx, []compute.NetworkAttachment{attachment}, func() error {
			use, err := i.p.plugOne(ctx, i.id, before.Name, attachment)
			if err == nil {
				after, err = i.attachCard(ctx, d, attachment, use)
			}
			return err
		})
		if err != nil {
			i.p.clearLost(ctx, i.id)
		}
		return after, err
	}, func(context.Context) error {
		if reason := i.p.hyper.noNetworks; reason != "" {
			return resource.Unsupported("attach network", reason)
		}
		return attachment.Validate().Err()
	})
}

// attachCard gives a machine the card of an endpoint.
func (i *instance) attachCard(ctx context.Context, d *domain, attachment compute.NetworkAttachment, use netUse) (*record, error) {
	before := *d.facts.record
	after := before
	after.Revision++
	after.Nets = append(slices.Clone(before.Nets), use)
	spec := before.spec.Clone()
	spec.Networks = append(spec.Networks, attachment)
	after, err := after.with(spec)
	if err == nil {
		err = givenUp(ctx)
	}
	if err != nil {
		return nil, err
	}
	card := use.card()
	err = i.reshape(ctx, after, func(next, _ *libvirtxml.Domain) error {
		next.Devices.Interfaces = append(next.Devices.Interfaces, card)
		return nil
	})
	if err == nil && d.state.Active() {
		err = i.plug(ctx, &card)
	}
	if err == nil {
		// Also where the caller has given up, see attach.
		return &after, nil
	}
	clean, cancel := i.p.cleanup(ctx)
	defer cancel()
	if undo := i.unplugCard(clean, use); undo != nil {
		return nil, errors.Join(err, undo)
	}
	back := before
	back.Revision = after.Revision + 1
	return nil, errors.Join(err, i.reshape(clean, back, func(next, _ *libvirtxml.Domain) error { dropCard(next, use); return nil }))
}

// DetachNetwork implements compute.NetworkAttacher. The guest is asked to let go of
// the card, and waited for. The endpoint goes last.
func (i *instance) DetachNetwork(ctx context.Context, endpoint string) error {
	return i.rewire(ctx, "detach network", func(ctx context.Context) (*record, error) {
		d, err := i.loadOwned(ctx, "")
		if err != nil {
			return nil, err
		}
		after := *d.facts.record
		n := slices.IndexFunc(after.Nets, func(u netUse) bool { return u.Endpoint == endpoint })
		if n < 0 {
			return nil, &resource.Error{Kind: errdefs.ErrNotFound, Field: "endpoint", Err: errors.New("the instance has no such endpoint")}
		}
		if err := pluggable(d.state); err != nil {
			return nil, err
		}
		if err := givenUp(ctx); err != nil {
			return nil, err
		}
		use := after.Nets[n]
		if d.state.Active() {
			if err := i.unplugCard(ctx, use); err != nil {
				return nil, err
			}
		}
		after.Revision++
		after.Nets = slices.Delete(slices.Clone(after.Nets), n, n+1)
		spec := after.spec.Clone()
		spec.Networks = slices.Delete(spec.Networks, n, n+1)
		if after, err = after.with(spec); err != nil {
			return nil, err
		}
		if err := i.reshape(ctx, after, func(next, _ *libvirtxml.Domain) error { dropCard(next, use); return nil }); err != nil {
			return nil, err
		}
		i.p.clearLost(ctx, i.id)
		return &after, nil
	})
}

// unplugCard takes a network card from a machine, if it runs and has it.
func (i *instance) unplugCard(ctx context.Context, use netUse) error {
	return i.unplug(ctx, "network card "+use.MAC, func(live *libvirtxml.Domain) *libvirtxml.DomainAlias {
		for _, card := range live.Devices.Interfaces {
			if use.isCard(card) {
				return card.Alias
			}
		}
		return nil
	})
}

func dropCard(d *libvirtxml.Domain, use netUse) {
	d.Devices.Interfaces = slices.DeleteFunc(d.Devices.Interfaces, use.isCard)
}
