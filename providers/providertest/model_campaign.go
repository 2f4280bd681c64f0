package providertest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// campaign tries many random sequences, several at once.
//
// Each sequence has a seed of its own, one more than that of the sequence before
// it, so that one is found again whatever was tried at the same time.
type campaign struct {
	sequences int
	seed      uint64
	all       generator
	workers   int
	// shrink bounds the search for a shorter sequence.
	shrink time.Duration
	// enlist makes what tries sequences one after the other, and what ends it.
	enlist func(ctx context.Context) (try attempt, dismiss func() error, err error)
}

// newCampaign fills in what options leave open: the flags of rapid where they
// are set, or else a seed by chance.
func newCampaign(sequences int, seed uint64, shrink time.Duration) campaign {
	c := campaign{sequences: sequences, seed: seed, shrink: shrink}
	if flagSet("rapid.checks") {
		c.sequences = int(uintFlag("rapid.checks"))
	}
	if flagSet("rapid.seed") {
		c.seed = uintFlag("rapid.seed")
	}
	if c.seed == 0 {
		// Rapid takes 0 for none.
		c.seed = 1 + rand.Uint64N(1<<62)
	}
	if c.shrink == 0 || flagSet("rapid.shrinktime") {
		c.shrink, _ = time.ParseDuration(flag.Lookup("rapid.shrinktime").Value.String())
	}
	return c
}

// reproduces reports whether only what failed before is tried again.
func reproduces() bool { return flagSet("rapid.seed") }

func uintFlag(name string) uint64 {
	n, _ := strconv.ParseUint(flag.Lookup(name).Value.String(), 10, 64)
	return n
}

// run tries the sequences until one fails, and returns that one, shrunk. An
// error says that they could not be tried.
func (c campaign) run(ctx context.Context) (*finding, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var next atomic.Int64
	var mu sync.Mutex
	var found *finding
	var errs []error
	var workers sync.WaitGroup
	for range max(1, min(c.workers, c.sequences)) {
		workers.Go(func() {
			f, err := c.work(ctx, &next)
			mu.Lock()
			defer mu.Unlock()
			if ctx.Err() == nil {
				found = f
				if err != nil {
					errs = append(errs, err)
				}
			}
			if f != nil || err != nil {
				// What others find from now on may come of their contexts' end.
				cancel()
			}
		})
	}
	workers.Wait()
	if found == nil || len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return c.shorten(context.WithoutCancel(ctx), found)
}

// work tries sequences until there is none left or one fails.
func (c campaign) work(ctx context.Context, next *atomic.Int64) (found *finding, err error) {
	try, dismiss, err := c.enlist(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if e := dismiss(); found == nil {
			err = errors.Join(err, e)
		}
	}()
	for ctx.Err() == nil {
		i := next.Add(1) - 1
		if i >= int64(c.sequences) {
			break
		}
		seed := c.seed + uint64(i)
		if f := try(c.all(seed).Example(int(seed))); f != nil {
			f.seed = seed
			return f, nil
		}
	}
	return nil, nil
}

// shorten finds the shortest sequence that fails as one does.
func (c campaign) shorten(ctx context.Context, found *finding) (*finding, error) {
	try, dismiss, err := c.enlist(ctx)
	if err != nil {
		return found, nil
	}
	best := shrink(found, c.all(found.seed), c.shrink, try)
	best.seed = found.seed
	if len(best.steps) < len(found.steps) {
		best.original = found
	}
	for range again {
		if f := try(best.steps); f != nil && f.fault.class == best.fault.class {
			best.repeats++
		}
	}
	// The provider is wrong, and what it leaves behind is no news.
	_ = dismiss()
	return best, nil
}

// again is how often the shortest sequence is tried again, to see whether it
// always fails.
const again = 3

// String shows the sequence and what is wrong with it.
func (f *finding) String() string {
	var b strings.Builder
	for i, line := range f.lines {
		fmt.Fprintf(&b, "\t%2d. %s\n", i+1, line)
	}
	fmt.Fprintf(&b, "%s\n", f.fault.text)
	if f.fault.class != "" {
		fmt.Fprintf(&b, "tried again, it failed %d of %d times\n", f.repeats, again)
	}
	if f.original != nil {
		fmt.Fprintf(&b, "it was found as %d steps, of which the last are:\n", len(f.original.steps))
		lines := f.original.lines
		for _, line := range lines[max(0, len(lines)-8):] {
			fmt.Fprintf(&b, "\t... %s\n", line)
		}
		fmt.Fprintf(&b, "%s\n", f.original.fault.text)
	}
	return b.String()
}
