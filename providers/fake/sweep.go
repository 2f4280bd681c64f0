package fake

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/resource"
)

var (
	_ univirt.Sweeper = (*Provider)(nil)
	_ univirt.Adopter = (*Provider)(nil)
)

// records returns everything of a namespace, in the order of creation. The
// backend is locked.
func (s *space) records() []stored {
	var all []stored
	for _, i := range s.instances.sorted() {
		all = append(all, i)
	}
	for _, img := range s.images.sorted() {
		all = append(all, img)
	}
	for _, v := range s.volumes.sorted() {
		all = append(all, v)
	}
	for _, n := range s.networks.sorted() {
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b stored) int { return cmp.Compare(a.meta().order, b.meta().order) })
	return all
}

// objects is records without what their kinds add.
func (s *space) objects() []*object {
	records := s.records()
	all := make([]*object, len(records))
	for n, r := range records {
		all[n] = r.meta()
	}
	return all
}

func sortedRefs(refs map[string]resource.Ref) []resource.Ref {
	out := make([]resource.Ref, 0, len(refs))
	for _, ref := range refs {
		out = append(out, ref)
	}
	slices.SortFunc(out, func(a, b resource.Ref) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// Sweep removes what dead values left behind. Images have no owner and stay.
func (p *Provider) Sweep(ctx context.Context, opts univirt.SweepOptions) (univirt.SweepReport, error) {
	var report univirt.SweepReport
	ref := resource.Ref{Provider: Scheme, Namespace: p.space.name}
	err := p.open(ctx)
	if err == nil {
		err = opts.Validate().Err()
	}
	var c call
	if err == nil {
		c, err = p.reach(ctx, OpSweep, target{ref: ref})
	}
	if err == nil {
		b := p.backend
		b.mu.Lock()
		doomed := p.doomed(opts)
		b.mu.Unlock()
		for _, r := range doomed {
			if err = p.open(ctx); err != nil {
				break
			}
			at := r.meta().ref()
			if opts.DryRun {
				report.Removed = append(report.Removed, at)
			} else if failed := p.remove(ctx, r); failed == nil {
				report.Removed = append(report.Removed, at)
			} else if !errors.Is(failed, errGone) {
				report.Failed = append(report.Failed, univirt.SweepFailure{Ref: at, Err: resource.Fail(OpSweep.verb(), at, failed)})
			}
		}
	}
	return report, resource.Fail(OpSweep.verb(), ref, c.done(err))
}

// doomed lists what a sweep removes, in the order in which that is possible. The
// backend is locked.
func (p *Provider) doomed(opts univirt.SweepOptions) []stored {
	now := time.Now()
	var out []stored
	for _, r := range p.space.records() {
		o := r.meta()
		if !o.managed || o.kind == resource.KindImage || opts.Owner != "" && o.owner.Name != opts.Owner {
			continue
		}
		alive := p.backend.alive(o.owner.Generation)
		if o.making && !alive || !o.making && (opts.All || r.lifetime().Expired(now, alive)) {
			out = append(out, r)
		}
	}
	return inOrderOfRemoval(out)
}

// inOrderOfRemoval puts instances before what they use, and what was made last
// first.
func inOrderOfRemoval(records []stored) []stored {
	rank := map[resource.Kind]int{resource.KindInstance: 0, resource.KindVolume: 1, resource.KindNetwork: 2}
	slices.SortFunc(records, func(a, b stored) int {
		x, y := a.meta(), b.meta()
		return cmp.Or(cmp.Compare(rank[x.kind], rank[y.kind]), cmp.Compare(y.order, x.order))
	})
	return records
}

var errGone = errors.New("is gone already")

// remove takes a record away, whatever it is doing.
func (p *Provider) remove(ctx context.Context, r stored) error {
	b := p.backend
	i, isInstance := r.(*instance)
	if isInstance {
		if err := p.take(ctx, &i.turn); err != nil {
			return err
		}
		defer p.leave(&i.turn)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.meta().gone {
		return errGone
	}
	switch r := r.(type) {
	case *instance:
		if err := p.endRun(ctx, r, "deleting"); err != nil {
			return err
		}
		if r.making {
			// Nobody has been told that it is there.
			p.space.forgetInstance(r)
			return nil
		}
		p.space.removeInstance(r)
	case *volume:
		return p.space.removeVolume(r)
	case *segment:
		return p.space.removeSegment(r)
	}
	return nil
}

// deleteEphemeral removes what goes with the value. What cannot go, because
// something that stays uses it, is left to Sweep.
func (p *Provider) deleteEphemeral() {
	b := p.backend
	b.mu.Lock()
	var doomed []stored
	for _, r := range p.space.records() {
		if o := r.meta(); r.lifetime().Ephemeral && o.owner.Generation == p.owner.Generation {
			doomed = append(doomed, r)
		}
	}
	b.mu.Unlock()
	if len(doomed) == 0 {
		return
	}
	// The value is closed, and its own waits end at once: another one cleans up.
	cleaner := &Provider{backend: b, space: p.space, owner: p.owner, over: make(chan struct{})}
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTime)
	defer cancel()
	for _, r := range inOrderOfRemoval(doomed) {
		_ = cleaner.remove(ctx, r)
	}
}

// cleanupTime bounds how long Close may take.
const cleanupTime = 10 * time.Second
