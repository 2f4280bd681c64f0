package providertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// DifferentialOptions say how much is compared. The zero value is 50 programs of
// about 20 steps, other ones each time.
type DifferentialOptions struct {
	// Programs is how many programs of operations are tried; 0 means 50. The flag
	// -rapid.checks replaces it.
	Programs int
	// Steps is how long they are in the mean; 0 means 20.
	Steps int
	// Seed is that of the first program; 0 means one by chance, which is printed.
	// The flag -rapid.seed replaces it.
	Seed uint64
	// Shrink bounds the search for a shorter program that shows the same
	// difference; 0 means what the flag -rapid.shrinktime says.
	Shrink time.Duration
}

const (
	defaultPrograms     = 50
	defaultProgramSteps = 20
)

// Differential carries out the same random programs of operations with two
// providers, and compares after every step the kinds of errors and the fields
// that they name, states, runs, exits, labels, limits, what waits for the next
// start, the output of executions and the logs by stream, and at the end the
// events of each instance. Identities, tokens, times and messages are the
// providers' own. What only one of the two declares is left out.
//
// The first program with a difference is shrunk, and both transcripts are shown
// side by side.
func Differential(t *testing.T, real, fake Harness, opts DifferentialOptions) {
	t.Helper()
	r, err := runDifferential(t.Context(), real, fake, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d programs of %d steps in %s, the first with the seed %d", r.programs.Load(), r.steps.Load(), r.took.Round(time.Millisecond), r.seed)
	if r.found != nil {
		t.Fatalf("the program with the seed %d shows a difference; try it again with: go test -run '^%s$' -rapid.checks=1 -rapid.seed=%d\n%s",
			r.found.seed, t.Name(), r.found.seed, r.found)
	}
}

// differentialReport is what came of a differential run.
type differentialReport struct {
	programs, steps atomic.Int64
	found           *finding
	seed            uint64
	took            time.Duration
}

func runDifferential(ctx context.Context, real, fake Harness, opts DifferentialOptions) (r *differentialReport, err error) {
	if opts.Programs == 0 {
		opts.Programs = defaultPrograms
	}
	if opts.Steps == 0 {
		opts.Steps = defaultProgramSteps
	}
	r = &differentialReport{}
	var sides []*suite
	for _, h := range []Harness{real, fake} {
		s, err := newSuite(ctx, h)
		if err != nil {
			return r, err
		}
		defer func() {
			if e := s.lanes.close(); r.found == nil {
				err = errors.Join(err, e)
			}
		}()
		sides = append(sides, s)
	}
	offers := []offer{sides[0].offer, sides[1].offer}
	begun := time.Now()
	c := newCampaign(opts.Programs, opts.Seed, opts.Shrink)
	c.all = sequences(portableActions(offeredActions(offers...)), opts.Steps, nil)
	c.workers = min(sides[0].h.Lanes, sides[1].h.Lanes)
	c.enlist = func(ctx context.Context) (attempt, func() error, error) { return enlistBoth(ctx, r, sides, offers) }
	r.seed = c.seed
	r.found, err = c.run(ctx)
	r.took = time.Since(begun)
	return r, err
}

// enlistBoth takes a lane of each side.
func enlistBoth(ctx context.Context, r *differentialReport, sides []*suite, offers []offer) (attempt, func() error, error) {
	var lanes []*settler
	dismiss := func() error {
		var errs []error
		for _, l := range lanes {
			errs = append(errs, l.leave())
		}
		return errors.Join(errs...)
	}
	for _, s := range sides {
		l, err := s.settle(ctx)
		if err != nil {
			return nil, nil, errors.Join(err, dismiss())
		}
		lanes = append(lanes, l)
	}
	return func(steps []step) *finding {
		players, fault := playBoth(ctx, lanes, offers, steps)
		if fault == nil && ctx.Err() == nil {
			r.programs.Add(1)
			r.steps.Add(int64(len(steps)))
			return nil
		}
		for _, l := range lanes {
			l.restore()
		}
		if ctx.Err() != nil {
			// It was given up, which says nothing.
			return nil
		}
		f := &finding{steps: steps, fault: fault}
		if players != nil {
			f.lines = sideBySide(offers[0], offers[1], players[0].play, players[1].play)
		}
		return f
	}, dismiss, nil
}

// playBoth carries out a program on both sides, step by step, until they differ.
// In the end the logs of what is left are compared, and then nothing is left.
func playBoth(ctx context.Context, lanes []*settler, offers []offer, steps []step) ([]*player, *disagreement) {
	ctx, cancel := context.WithTimeout(ctx, 4*max(lanes[0].s.h.Patience, lanes[1].s.h.Patience))
	defer cancel()
	var players []*player
	for _, l := range lanes {
		p, err := newPlayer(ctx, l, offers)
		if err != nil {
			return nil, disagree("watch", "%v", err)
		}
		defer p.tape.stop()
		players = append(players, p)
	}
	together := func(do func(p *player)) *disagreement {
		var both sync.WaitGroup
		for _, p := range players {
			both.Go(func() { do(p) })
		}
		both.Wait()
		return compare(players[0].play, players[1].play)
	}
	for _, s := range steps {
		if d := together(func(p *player) { p.take(s) }); d != nil {
			return players, d
		}
	}
	last := []*action{deleteAction}
	if allOffer(offers, logsAction.needs) {
		last = []*action{logsAction, deleteAction}
	}
	for name := range modelNames {
		if players[0].present[name] == nil {
			continue
		}
		for _, do := range last {
			if d := together(func(p *player) { p.take(step{do: do, name: name}) }); d != nil {
				return players, d
			}
		}
	}
	return players, together((*player).end)
}

// portableActions leaves out what has no meaning for two providers at once.
func portableActions(actions []*action) []*action {
	return slices.DeleteFunc(actions, func(a *action) bool { return a.name == "break" })
}

// compare finds the first difference between two plays.
func compare(a, b play) *disagreement {
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) {
			return disagree("length", "one of the two ended early")
		}
		if what := a[i].differs(b[i]); what != "" {
			return disagree(a[i].what+": "+what, "they differ in the %s of: %s", what, a[i].step)
		}
	}
	return nil
}

// differs says in what two scenes of one step differ, or returns "".
func (s scene) differs(other scene) string {
	for i := range max(len(s.facts), len(other.facts)) {
		switch {
		case i >= len(s.facts):
			return other.facts[i].about
		case i >= len(other.facts), !s.facts[i].agrees(other.facts[i]):
			return s.facts[i].about
		}
	}
	return ""
}

// agrees reports whether two facts are the same. The name of a signal is told
// where a provider can.
func (f fact) agrees(other fact) bool {
	return f.about == other.about && f.text == other.text &&
		(f.signal == other.signal || f.signal == "" || other.signal == "")
}

func (f fact) String() string {
	if f.signal != "" {
		return fmt.Sprintf("%s: %s (%s)", f.about, f.text, f.signal)
	}
	return f.about + ": " + f.text
}
