package providertest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	univirt "github.com/univirt/univirt"
)

// ModelOptions say how much is tried. The zero value is 100 sequences of about
// 25 steps, other ones each time.
type ModelOptions struct {
	// Sequences is how many are tried; 0 means 100. The flag -rapid.checks
	// replaces it.
	Sequences int
	// Steps is how long they are in the mean; 0 means 25.
	Steps int
	// Seed is that of the first sequence; 0 means one by chance, which is
	// printed. The flag -rapid.seed replaces it: with the seed that a failure
	// names, that sequence is the first.
	Seed uint64
	// Shrink bounds the search for a shorter sequence that fails likewise; 0
	// means what the flag -rapid.shrinktime says.
	Shrink time.Duration
}

const (
	defaultSequences = 100
	defaultSteps     = 25
)

// Model tries random sequences of operations on instances against a model that
// knows only the table of compute.Transitions. After every step it compares
// states, errors, runs, exits, output, labels and revisions, of all instances,
// and after the last one the events that a watch told meanwhile. Several
// instances take part in a sequence, and their names are used again.
//
// Sequences are tried in as many namespaces at once as the harness has lanes,
// each with one provider value for all of them. The first that fails is shrunk
// and shown with its seed. The test also fails where an operation that the
// provider declares was never tried in a state that can be reached, be it by
// Force of the harness, unless fewer sequences than by default were asked for.
func Model(t *testing.T, h Harness, opts ModelOptions) {
	t.Helper()
	r, err := runModel(t.Context(), h, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d sequences of %d steps in %s, the first with the seed %d",
		r.pairs.sequences, r.pairs.steps, r.took.Round(time.Millisecond), r.seed)
	t.Logf("how often each operation was tried in each state:\n%s", r.pairs.table())
	if r.found != nil {
		t.Fatalf("the sequence with the seed %d fails; try it again with: go test -run '^%s$' -rapid.checks=1 -rapid.seed=%d\n%s",
			r.found.seed, t.Name(), r.found.seed, r.found)
	}
	if reproduces() || r.asked < defaultSequences {
		t.Log("fewer sequences than by default were asked for: what was not tried is not counted")
		return
	}
	for _, p := range r.never {
		t.Errorf("never tried: %s", p)
	}
}

// modelReport is what came of a model test.
type modelReport struct {
	pairs *pairs
	// never are the pairs that ought to have been tried.
	never []pair
	found *finding
	// asked is how many sequences were asked for.
	asked int
	seed  uint64
	took  time.Duration
}

func runModel(ctx context.Context, h Harness, opts ModelOptions) (r modelReport, err error) {
	if opts.Sequences == 0 {
		opts.Sequences = defaultSequences
	}
	if opts.Steps == 0 {
		opts.Steps = defaultSteps
	}
	s, err := newSuite(ctx, h)
	if err != nil {
		return r, err
	}
	defer func() {
		if e := s.lanes.close(); r.found == nil {
			err = errors.Join(err, e)
		}
	}()
	begun := time.Now()
	r.pairs = newPairs()
	c := newCampaign(opts.Sequences, opts.Seed, opts.Shrink)
	wanted := wantedPairs(s.offer)
	c.all = sequences(offeredActions(s.offer), opts.Steps, openings(wanted))
	c.workers = s.h.Lanes
	c.enlist = func(ctx context.Context) (attempt, func() error, error) {
		l, err := s.settle(ctx)
		if err != nil {
			return nil, nil, err
		}
		return func(steps []step) *finding {
			lines, fault := tryModel(ctx, s, l.p, r.pairs, steps)
			if fault == nil && ctx.Err() == nil {
				r.pairs.sequence(len(lines))
				return nil
			}
			l.restore()
			if ctx.Err() != nil {
				// It was given up, which says nothing.
				return nil
			}
			return &finding{steps: steps, lines: lines, fault: fault}
		}, l.leave, nil
	}
	r.asked, r.seed = c.sequences, c.seed
	r.found, err = c.run(ctx)
	r.never = r.pairs.never(wanted)
	r.took = time.Since(begun)
	return r, err
}

// settler is a lane that many sequences use one after the other, with one
// provider value.
type settler struct {
	*lane
	p      univirt.Provider
	before []string
}

// settle takes a lane.
func (s *suite) settle(ctx context.Context) (*settler, error) {
	l, err := s.lanes.take(ctx)
	if err != nil {
		return nil, fmt.Errorf("prepare a namespace: %w", err)
	}
	x := &settler{lane: l}
	if x.before, err = l.inventory(ctx); err == nil {
		x.p, err = s.h.Open(ctx, OpenOptions{Namespace: l.namespace, Owner: owner})
	}
	if err != nil {
		s.lanes.give(l)
		return nil, err
	}
	return x, nil
}

// restore removes what a failed sequence left, as far as that can be done.
func (x *settler) restore() {
	x.spoilt = true
	_ = x.clean(context.Background(), x.images)
}

// leave closes the provider value, and fails where something is left.
func (x *settler) leave() error {
	defer x.s.lanes.give(x.lane)
	err := x.p.Close()
	if !x.spoilt {
		var left verdict
		x.check(&left, x.before)
		err = errors.Join(err, left.err())
	}
	return err
}

// verdict is a T that gathers what is wrong.
type verdict struct{ errs []error }

var _ T = (*verdict)(nil)

func (*verdict) Helper()             {}
func (*verdict) Name() string        { return "providertest" }
func (*verdict) Logf(string, ...any) {}
func (v *verdict) Failed() bool      { return len(v.errs) > 0 }
func (v *verdict) err() error        { return errors.Join(v.errs...) }

// FailNow does not end the goroutine: who uses a verdict goes on.
func (*verdict) FailNow() {}

func (v *verdict) Errorf(format string, args ...any) {
	v.errs = append(v.errs, fmt.Errorf(format, args...))
}
