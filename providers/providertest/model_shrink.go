package providertest

import (
	"flag"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"pgregory.net/rapid"
)

// finding is a sequence that a provider does wrong.
type finding struct {
	seed  uint64
	steps []step
	// lines are the transcript, and fault what was wrong.
	lines []string
	fault *disagreement
	// original is what was found before it was shrunk; nil where it was not.
	original *finding
	// repeats is how often it failed again.
	repeats int
}

// attempt tries a sequence anew, with nothing left of earlier ones, and returns
// what was wrong with it.
type attempt func(steps []step) *finding

// rapidFlags guards the flags of rapid, which has no other way to be told a seed.
var rapidFlags sync.Mutex

// shrink finds a shorter sequence with the same fault, and returns the shortest
// that was seen. Each sequence is tried once: on a real backend a try is dear,
// and a fault that shows only now and then is one all the same.
//
// The time bounds the beginning of tries.
func shrink(found *finding, all *rapid.Generator[[]step], bound time.Duration, try attempt) *finding {
	rapidFlags.Lock()
	defer rapidFlags.Unlock()
	defer setFlags(map[string]string{
		"rapid.seed": strconv.FormatUint(found.seed, 10), "rapid.checks": "5", "rapid.failfile": "",
		"rapid.nofailfile": "true", "rapid.shrinktime": bound.String(),
	})()
	tried := map[string]*finding{sequenceString(found.steps): found}
	best := found
	deadline := time.Now().Add(bound)
	rapid.Check(&quiet{}, func(t *rapid.T) {
		steps := all.Draw(t, "sequence")
		key := sequenceString(steps)
		f, known := tried[key]
		if !known {
			if time.Now().After(deadline) {
				return
			}
			f = try(steps)
			tried[key] = f
		}
		if f == nil || f.fault.class != found.fault.class {
			return
		}
		if len(f.steps) <= len(best.steps) {
			best = f
		}
		t.Fatalf("%s", key)
	})
	return trim(best, func(steps []step) *finding {
		if time.Now().After(deadline) {
			return nil
		}
		return try(steps)
	})
}

// trim leaves out single steps as long as that changes nothing: also those that
// were not drawn one by one.
func trim(best *finding, try attempt) *finding {
	for i := len(best.steps) - 1; i >= 0; i-- {
		steps := slices.Delete(slices.Clone(best.steps), i, i+1)
		if f := try(steps); f != nil && f.fault.class == best.fault.class {
			f.seed = best.seed
			best, i = f, len(steps)
		}
	}
	return best
}

// setFlags sets flags of the command line, and returns what sets them back.
func setFlags(values map[string]string) (restore func()) {
	before := make(map[string]string)
	for name, value := range values {
		before[name] = flag.Lookup(name).Value.String()
		setFlag(name, value)
	}
	return func() {
		for name, value := range before {
			setFlag(name, value)
		}
	}
}

func setFlag(name, value string) {
	// Not flag.Set, which would let the flag look as if the user had set it.
	if err := flag.Lookup(name).Value.Set(value); err != nil {
		panic(fmt.Sprintf("providertest: the flag %s: %v", name, err))
	}
}

// quiet is a test that rapid may fail: what it says is not wanted.
type quiet struct {
	mu     sync.Mutex
	failed bool
}

var _ rapid.TB = (*quiet)(nil)

func (q *quiet) Helper()               {}
func (q *quiet) Name() string          { return "providertest" }
func (q *quiet) Logf(string, ...any)   {}
func (q *quiet) Log(...any)            {}
func (q *quiet) Skipf(string, ...any)  {}
func (q *quiet) Skip(...any)           {}
func (q *quiet) SkipNow()              {}
func (q *quiet) Errorf(string, ...any) { q.Fail() }
func (q *quiet) Error(...any)          { q.Fail() }
func (q *quiet) Fatalf(string, ...any) { q.Fail() }
func (q *quiet) Fatal(...any)          { q.Fail() }
func (q *quiet) FailNow()              { q.Fail() }

func (q *quiet) Fail() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.failed = true
}

func (q *quiet) Failed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.failed
}
