//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/internal/filelock"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// networks takes those that were never finished or not deleted to the end, and those
// past their lifetime, or all, that nobody is on.
func (s *sweep) networks(ctx context.Context) error {
	if s.p.inProcess() {
		return nil
	}
	n := networks{s.p}
	docs, err := n.records().list(ctx)
	if err != nil {
		return err
	}
	half, err := n.records().claimed(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	for _, d := range append(docs, half...) {
		switch {
		case d.fault != nil || !s.Mine(d.Owner.Name):
			continue
		case d.hidden() && s.p.abandoned(d):
			s.Take(ctx, n.ref(d.Name, d.ID), func() error { return n.discard(ctx, d) })
		case d.hidden() || s.unfinished:
			continue
		case s.opts.All || networkLifetime(d).Expired(now, s.p.mayLive(d.Home, d.Owner)):
			s.Take(ctx, n.ref(d.Name, d.ID), func() error { return n.bury(ctx, d.ID) })
		}
	}
	return nil
}

// networkLifetime is that of a network's record; of one that cannot be read there is
// none that would end.
func networkLifetime(d document) resource.Lifetime {
	spec, err := network.Decode(d.Spec)
	if err != nil {
		return resource.Persistent
	}
	return spec.Lifetime
}

// buryNetwork deletes an ephemeral network at Close, when no other operation of this
// value is under way.
func (p *Provider) buryNetwork(ctx context.Context, id string) error {
	err := networks{p}.bury(ctx, id)
	if isNotFound(err) {
		return nil
	}
	return (&networkHandle{p, id}).fail("delete", err)
}

// bury deletes a network with the endpoints that were reserved on it.
func (n networks) bury(ctx context.Context, id string) error {
	h := &networkHandle{n.p, id}
	return h.alter(ctx, func(ctx context.Context) error {
		all, err := n.p.readAll(ctx)
		if err != nil {
			return err
		}
		others := users(all)
		return h.remove(ctx, "", func(state networkState) error {
			for _, e := range state.Endpoints {
				holder := e.Holder
				if d := others[e.ID]; d != nil {
					holder = d.id
				}
				if holder != "" {
					return resource.Errorf(errdefs.ErrFailedPrecondition, "instance %s is on the network", holder)
				}
			}
			return nil
		})
	})
}

// endpoints takes back those of instances that are no more, or do not know of them.
func (s *sweep) endpoints(ctx context.Context) error {
	if s.p.inProcess() || s.opts.Owner != "" {
		return nil
	}
	docs, err := networks{s.p}.records().list(ctx)
	if err != nil {
		return err
	}
	known := map[string]*domain{}
	for _, d := range s.all {
		known[d.id] = d
	}
	lost := map[string]bool{}
	for _, d := range docs {
		state, err := readNetworkState(d)
		if err != nil {
			continue
		}
		for _, e := range state.Endpoints {
			if e.Holder != "" && !has(known[e.Holder], e.ID) {
				lost[e.Holder] = true
			}
		}
	}
	for id := range lost {
		if held, err := filelock.Held(s.p.lockPath(id)); held || err != nil && !errors.Is(err, fs.ErrNotExist) {
			continue // it is being changed
		}
		s.Take(ctx, s.p.ref(resource.KindEndpoint, "", id), func() error {
			return s.p.locked(ctx, id, func() error { return s.p.dropLost(ctx, id) })
		})
	}
	return nil
}

// has reports whether an instance may have an endpoint.
func has(d *domain, endpoint string) bool {
	return d != nil && (d.facts.record == nil || d.facts.fault != nil || uses(d.facts.record.Nets, endpoint))
}
