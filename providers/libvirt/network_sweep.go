//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"io/fs"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/internal/filelock"
	"github.com/univirt/univirt/resource"
)

// networks takes those that were never finished or not deleted to the end, and with
// All the others that nobody is on.
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
	for _, d := range append(docs, half...) {
		switch {
		case d.fault != nil || !s.Mine(d.Owner.Name):
			continue
		case d.hidden():
			if !s.p.abandoned(d) {
				continue
			}
		case !s.opts.All || s.unfinished:
			continue
		}
		s.Take(ctx, n.ref(d.Name, d.ID), func() error {
			if d.hidden() {
				return n.discard(ctx, d)
			}
			return s.deleteNetwork(ctx, d)
		})
	}
	return nil
}

// deleteNetwork deletes a network with the endpoints that were reserved on it.
func (s *sweep) deleteNetwork(ctx context.Context, d document) error {
	h := &networkHandle{s.p, d.ID}
	return h.alter(ctx, func(ctx context.Context) error {
		removed, err := h.networks().records().amend(ctx, d.ID, func(d document) (document, error) {
			_, state, err := h.present(ctx, d, "")
			if err != nil {
				return d, err
			}
			for _, e := range state.Endpoints {
				if e.Holder != "" {
					return d, resource.Errorf(errdefs.ErrFailedPrecondition, "instance %s is on the network", e.Holder)
				}
			}
			d.Home = s.p.home
			return d.begun(removing, s.p.owner.Generation, networkMakingTime), nil
		})
		if err != nil {
			return err
		}
		if err = h.networks().discard(ctx, removed); err == nil {
			s.p.tellGone(removed.ref())
		}
		return err
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
