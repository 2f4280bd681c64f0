package fake

import (
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// Injection is a fault that has been injected. Its methods may be called
// concurrently.
type Injection struct {
	fault Fault
	from  *injections
	// mu guards the counts; a fault that strikes takes no other lock meanwhile.
	mu sync.Mutex
	// seed and number are what chance begins with, and draws counts the calls that
	// it has decided on, by a hash of what they were about.
	seed, number uint64
	draws        map[uint64]uint64
	matched      int
	struck       int
	removed      bool
	// first is closed by the first strike, and over by the removal.
	first, over chan struct{}
	// err says why the fault was not injected.
	err error
}

// Err says what is wrong with a fault that was therefore not injected, or is nil. It is
// resource.Faults, an InvalidArgument.
func (i *Injection) Err() error { return i.err }

// Struck returns how often the fault has struck.
func (i *Injection) Struck() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.struck
}

// FirstStrike returns a channel that is closed when the fault has struck for the first
// time: a call that hangs does so then. Of a fault that was not injected it is nil.
func (i *Injection) FirstStrike() <-chan struct{} { return i.first }

// Remove ends the fault, and calls that hang because of it go on. Removing it twice
// does nothing.
func (i *Injection) Remove() { i.from.remove(i) }

// String returns the fault as the sentence that it is.
func (i *Injection) String() string { return i.fault.String() }

// target is what a call is about.
type target struct {
	ref    resource.Ref
	labels resource.Labels
	// kind is the kind of instance, or empty.
	kind compute.Kind
}

// is reports whether a name or an ID means the resource.
func (t target) is(nameOrID string) bool {
	switch {
	case nameOrID == "":
		return false
	case nameOrID == t.ref.Name || nameOrID == t.ref.ID:
		return true
	}
	return t.ref.Kind == resource.KindImage && fullName(nameOrID) == t.ref.Name
}

// strikes counts a call or event that may match, and reports whether the fault
// strikes it.
func (i *Injection) strikes(what Op, at target) bool {
	s := &i.fault.site
	if len(s.ops) > 0 && !slices.Contains(s.ops, what) ||
		len(s.names) > 0 && !slices.ContainsFunc(s.names, at.is) ||
		len(s.kinds) > 0 && !slices.Contains(s.kinds, at.ref.Kind) ||
		len(s.guests) > 0 && !slices.Contains(s.guests, at.kind) ||
		!s.selector.Matches(at.labels) {
		return false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.removed {
		return false
	}
	i.matched++
	if s.first > 0 && i.matched < s.first || s.last > 0 && i.matched > s.last {
		return false
	}
	if s.chance < 1 && i.draw(what, at) >= s.chance {
		return false
	}
	i.struck++
	if !s.after {
		i.hit()
	}
	return true
}

// hit tells of the first strike, if it is. The injection is locked.
func (i *Injection) hit() {
	select {
	case <-i.first:
	default:
		close(i.first)
	}
}

// draw returns a number from 0 to 1 that depends on the seed, on what a call is
// about, and on how many there were of the same before: so a test whose goroutines
// race still sees the same calls struck. The injection is locked.
func (i *Injection) draw(what Op, at target) float64 {
	h := fnv.New64a()
	for _, text := range []string{string(what), string(at.ref.Kind), at.ref.Namespace, at.ref.Name} {
		h.Write([]byte(text))
		h.Write([]byte{0})
	}
	key := h.Sum64()
	if i.draws == nil {
		i.draws = make(map[uint64]uint64)
	}
	i.draws[key]++
	return rand.New(rand.NewPCG(i.seed^key, i.number<<32+i.draws[key])).Float64()
}

// injections are the faults of one value, or of a backend.
type injections struct {
	mu     sync.RWMutex
	calls  []*Injection
	events []*Injection
	// made counts all that there ever were.
	made uint64
}

func (in *injections) add(f Fault, seed uint64) *Injection {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.made++
	i := &Injection{fault: f, from: in, seed: seed, number: in.made, first: make(chan struct{}), over: make(chan struct{})}
	if f.event {
		in.events = append(in.events, i)
	} else {
		in.calls = append(in.calls, i)
	}
	return i
}

func (in *injections) remove(i *Injection) {
	in.mu.Lock()
	defer in.mu.Unlock()
	i.mu.Lock()
	if !i.removed {
		i.removed = true
		close(i.over)
	}
	i.mu.Unlock()
	same := func(other *Injection) bool { return other == i }
	// Others may be reading the old list.
	in.calls = slices.DeleteFunc(slices.Clone(in.calls), same)
	in.events = slices.DeleteFunc(slices.Clone(in.events), same)
}

func (in *injections) list(events bool) []*Injection {
	in.mu.RLock()
	defer in.mu.RUnlock()
	if events {
		return in.events
	}
	return in.calls
}

// unused lists the faults that have never struck.
func (in *injections) unused() []*Injection {
	in.mu.RLock()
	defer in.mu.RUnlock()
	var idle []*Injection
	for _, i := range slices.Concat(in.calls, in.events) {
		if i.Struck() == 0 {
			idle = append(idle, i)
		}
	}
	return idle
}

// eventTimes says how often an event reaches the watches of each living value,
// where that is not once. The backend is locked.
func (b *Backend) eventTimes(e resource.Event) map[*Provider]int {
	what := Op(e.Reason)
	if what == "" {
		what = Op(e.Type)
	}
	at := target{ref: e.Ref, labels: e.Labels}
	apply := func(times int, in *injections) int {
		for _, i := range in.list(true) {
			switch {
			case !i.strikes(what, at):
			case i.fault.action == drops:
				return 0
			default:
				times++
			}
		}
		return times
	}
	common := apply(1, &b.faults)
	var out map[*Provider]int
	for p := range b.values {
		times := common
		if common > 0 {
			times = apply(common, &p.faults)
		}
		if times != 1 {
			if out == nil {
				out = make(map[*Provider]int)
			}
			out[p] = times
		}
	}
	return out
}
