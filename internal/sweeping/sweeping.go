// Package sweeping does what all sweeps have in common: it removes things, several
// at a time, and reports them.
package sweeping

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/resource"
)

// atOnce is how many things are removed at a time.
const atOnce = 4

// Sweep is one sweep with what became of it.
type Sweep struct {
	opts univirt.SweepOptions

	mu     sync.Mutex
	group  *errgroup.Group
	report univirt.SweepReport
}

// New begins a sweep.
func New(opts univirt.SweepOptions) *Sweep { return &Sweep{opts: opts} }

// Mine reports whether the sweep is about what an owner made.
func (s *Sweep) Mine(owner string) bool { return s.opts.Owner == "" || s.opts.Owner == owner }

// Step runs one step, and returns when all that it took is gone. The steps of a
// sweep follow each other: one may keep what an earlier one removes.
func (s *Sweep) Step(ctx context.Context, step func(context.Context) error) error {
	s.group = new(errgroup.Group)
	s.group.SetLimit(atOnce)
	err := step(ctx)
	return errors.Join(err, s.group.Wait())
}

// Take removes one thing, or reports it only. It is called by a step. That somebody
// else was faster is no failure, and nothing to report.
func (s *Sweep) Take(ctx context.Context, ref resource.Ref, remove func() error) {
	if s.opts.DryRun {
		s.removed(ref)
		return
	}
	s.group.Go(func() error {
		if ctx.Err() != nil {
			return nil
		}
		switch err := remove(); {
		case err == nil:
			s.removed(ref)
		case !errors.Is(err, errdefs.ErrNotFound):
			s.mu.Lock()
			defer s.mu.Unlock()
			s.report.Failed = append(s.report.Failed, univirt.SweepFailure{Ref: ref, Err: resource.Fail("sweep", ref, err)})
		}
		return nil
	})
}

func (s *Sweep) removed(ref resource.Ref) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report.Removed = append(s.report.Removed, ref)
}

// Report says what the sweep did so far.
func (s *Sweep) Report() univirt.SweepReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.report
}

// Lasting is what look finds twice. What others make or finish while it looks can seem
// to be nobody's, but not two times.
func Lasting(look func() ([]resource.Ref, error)) ([]resource.Ref, error) {
	once, err := look()
	if err != nil || len(once) == 0 {
		return once, err
	}
	twice, err := look()
	return slices.DeleteFunc(twice, func(ref resource.Ref) bool { return !slices.Contains(once, ref) }), err
}
