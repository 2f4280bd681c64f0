package fake

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// Site says at which calls a fault strikes: all calls of some operations, unless
// it is narrowed down. Its methods return a narrower site and leave the receiver
// alone; those that return a [Fault] say what happens there. All that narrows a site
// down must hold; Of, Kind and InstanceKind add to what they were given before. A site
// at which no call can be, such as On(OpStart).Kind(resource.KindVolume) or
// First(2).Nth(5), makes no sense: see [Provider.Fail].
//
//	fake.On(fake.OpStart).Of("web").Nth(2).With(errdefs.ErrUnavailable)
//	fake.On(fake.OpPull).With(errdefs.ErrUnauthenticated)
//	fake.On(fake.OpCreate).Labelled("tier=web").Chance(0.1).DiskFull()
//	fake.On(fake.OpStop).After().With(errdefs.ErrUnavailable)
//	fake.On(fake.OpInfo).Hanging()
//	fake.On(fake.OpDelete).Crashing()
//	fake.On().With(errdefs.ErrUnavailable)
type Site struct {
	ops      []Op
	names    []string
	selector resource.Selector
	kinds    []resource.Kind
	guests   []compute.Kind
	// first and last count from 1, and are 0 where nothing bounds them.
	first, last int
	chance      float64
	after       bool
	faults      resource.Faults
}

// wrong is the site with one more fault.
func (s Site) wrong(field, format string, args ...any) Site {
	s.faults = slices.Clone(s.faults)
	s.faults.Add(field, format, args...)
	return s
}

// On is the site of every call of these operations; of every operation where
// none is given.
func On(ops ...Op) Site {
	s := Site{ops: slices.Clone(ops), chance: 1}
	for _, op := range ops {
		s.faults.AddReason("op", op.check())
	}
	return s
}

// Of narrows the site to resources of these names or IDs. For an image it is a
// reference.
func (s Site) Of(names ...string) Site {
	s.names = append(slices.Clone(s.names), names...)
	if len(names) == 0 {
		return s.wrong("of", "needs a name")
	}
	return s
}

// Labelled narrows the site to resources whose labels match a selector, in the
// syntax of resource.ParseSelector. A call without a resource, such as a list,
// has no labels.
func (s Site) Labelled(selector string) Site {
	parsed, err := resource.ParseSelector(selector)
	for _, f := range resource.FaultsOf(err) {
		s = s.wrong(f.Field, "%s", f.Reason)
	}
	s.selector = resource.Select(append(s.selector.Requirements(), parsed.Requirements()...)...)
	return s
}

// Kind narrows the site to a kind of resource, such as resource.KindVolume. What is
// done with a snapshot is about the instance or the volume.
func (s Site) Kind(kind resource.Kind) Site {
	s.kinds = append(slices.Clone(s.kinds), kind)
	if reason := checkWord("kind of resource with calls of its own", kind, targetKinds); reason != "" {
		return s.wrong("kind", "%s", reason)
	}
	return s
}

var targetKinds = []resource.Kind{resource.KindInstance, resource.KindImage, resource.KindVolume, resource.KindNetwork, resource.KindEndpoint}

// InstanceKind narrows the site to a kind of instance, such as compute.VM.
func (s Site) InstanceKind(kind compute.Kind) Site {
	s.guests = append(slices.Clone(s.guests), kind)
	if reason := checkWord("kind of instance", kind, guestKinds); reason != "" {
		return s.wrong("kind", "%s", reason)
	}
	return s
}

var guestKinds = []compute.Kind{compute.Container, compute.VM}

// Nth narrows the site to the n-th of the calls, counted from 1 since the fault
// was injected.
func (s Site) Nth(n int) Site { return s.between("nth", n, n, n) }

// First narrows the site to the first n of the calls.
func (s Site) First(n int) Site { return s.between("first", n, 1, n) }

// From narrows the site to the n-th of the calls and all later ones.
func (s Site) From(n int) Site { return s.between("from", n, n, 0) }

func (s Site) between(field string, n, first, last int) Site {
	if n < 1 {
		return s.wrong(field, "counts from 1, is %d", n)
	}
	s.first = max(s.first, first)
	if s.last == 0 || last > 0 && last < s.last {
		s.last = last
	}
	if s.last > 0 && s.first > s.last {
		return s.wrong(field, "leaves nothing of what was said before: from number %d to number %d", s.first, s.last)
	}
	return s
}

// Chance makes the fault strike with a probability from 0 to 1. Whether it
// does depends on Options.Seed, on the operation and the resource, and on how many
// such calls there were. With 0 it never does.
func (s Site) Chance(probability float64) Site {
	s.chance = probability
	if !(probability >= 0 && probability <= 1) {
		return s.wrong("chance", "must be from 0 to 1")
	}
	return s
}

// After makes the fault strike when the operation has taken effect, as where the
// answer is lost. Without it the fault strikes before any effect.
func (s Site) After() Site {
	s.after = true
	return s
}

// Fault is what happens at a site. Its zero value is not valid.
type Fault struct {
	site Site
	// event is set for faults of events instead of calls.
	event  bool
	kind   error
	err    error
	delay  time.Duration
	action action
}

type action int

const (
	none action = iota
	fails
	delays
	hangs
	crashes
	drops
	duplicates
)

// With makes the calls fail with an error of this kind: a sentinel of errdefs, or
// any error that carries one.
func (s Site) With(kind error) Fault {
	if kind == nil {
		s = s.wrong("with", "needs an error")
	}
	return Fault{site: s, action: fails, kind: resource.KindOf(kind), err: kind}
}

// DiskFull makes the calls fail as where no space is left.
func (s Site) DiskFull() Fault {
	return s.With(resource.Errorf(errdefs.ErrResourceExhausted, "no space left on device"))
}

// PoolEmpty makes the calls fail as where a network has no address left.
func (s Site) PoolEmpty() Fault {
	return s.With(resource.Errorf(errdefs.ErrResourceExhausted, "no address is left"))
}

// Delayed makes the calls take longer.
func (s Site) Delayed(by time.Duration) Fault {
	if by <= 0 {
		s = s.wrong("delayed", "must be more than 0")
	}
	return Fault{site: s, action: delays, delay: by}
}

// Hanging makes the calls hang until their context is done, the fault is removed or
// the value is closed.
func (s Site) Hanging() Fault { return Fault{site: s, action: hangs} }

// Crashing ends the provider value in the middle of the call as kill -9 would,
// see Provider.Crash. The call, and every later one, is resource.ErrClosed.
func (s Site) Crashing() Fault { return Fault{site: s, action: crashes} }

// NeverReady is the fault of guests that run and never get as far as to answer
// Exec: of these instances, or of all where none is named.
func NeverReady(names ...string) Fault {
	s := On(OpBoot)
	s.names = slices.Clone(names)
	return s.Hanging()
}

// EventSite says which events a fault is about.
type EventSite struct{ site Site }

// OnEvent is the site of every event with one of these reasons, such as
// resource.ReasonStart; of every event where none is given. An event without a
// reason is found by its type: "deleted".
func OnEvent(reasons ...string) EventSite {
	s := On()
	for _, reason := range reasons {
		s.faults.AddReason("event", checkWord("reason of an event", reason, eventReasons))
		s.ops = append(s.ops, Op(reason))
	}
	return EventSite{s}
}

// eventReasons are those of the events that the fake emits, and the type of those
// that have none.
var eventReasons = []string{
	resource.ReasonCreate, resource.ReasonStart, resource.ReasonExit, resource.ReasonOOM, resource.ReasonPause,
	resource.ReasonResume, resource.ReasonSuspend, resource.ReasonReset, resource.ReasonUpdate, resource.ReasonHealth,
	resource.ReasonReady, resource.ReasonFail, string(resource.EventDeleted),
}

// Of narrows the site to resources of these names or IDs.
func (s EventSite) Of(names ...string) EventSite { return EventSite{s.site.Of(names...)} }

// Labelled narrows the site to resources whose labels match a selector.
func (s EventSite) Labelled(selector string) EventSite { return EventSite{s.site.Labelled(selector)} }

// Nth narrows the site to the n-th of the events, counted from 1.
func (s EventSite) Nth(n int) EventSite { return EventSite{s.site.Nth(n)} }

// First narrows the site to the first n of the events.
func (s EventSite) First(n int) EventSite { return EventSite{s.site.First(n)} }

// From narrows the site to the n-th of the events and all later ones.
func (s EventSite) From(n int) EventSite { return EventSite{s.site.From(n)} }

// Chance makes the fault strike with a probability from 0 to 1.
func (s EventSite) Chance(probability float64) EventSite {
	return EventSite{s.site.Chance(probability)}
}

// Dropped makes the events get lost without a word: no Gap tells of it.
func (s EventSite) Dropped() Fault { return Fault{site: s.site, event: true, action: drops} }

// Duplicated makes the events arrive twice.
func (s EventSite) Duplicated() Fault { return Fault{site: s.site, event: true, action: duplicates} }

// opNames are the operations, or the reasons of events, in a sentence.
func (s Site) opNames(events bool, separator string) string {
	names := make([]string, len(s.ops))
	for i, op := range s.ops {
		if names[i] = string(op); !events {
			names[i] = op.name()
		}
	}
	return strings.Join(names, separator)
}

// String returns the fault as the sentence that it is.
func (f Fault) String() string {
	var b strings.Builder
	if f.event {
		b.WriteString("event")
	} else {
		b.WriteString("call")
	}
	if len(f.site.ops) > 0 {
		b.WriteString(" " + f.site.opNames(f.event, ", "))
	}
	if len(f.site.names) > 0 {
		fmt.Fprintf(&b, " of %s", strings.Join(f.site.names, ", "))
	}
	if !f.site.selector.IsZero() {
		fmt.Fprintf(&b, " labelled %s", f.site.selector)
	}
	if len(f.site.kinds) > 0 {
		fmt.Fprintf(&b, " of kind %s", joined(f.site.kinds))
	}
	if len(f.site.guests) > 0 {
		fmt.Fprintf(&b, " of kind %s", joined(f.site.guests))
	}
	switch s := f.site; {
	case s.first == 0:
	case s.last == 0:
		fmt.Fprintf(&b, " from number %d", s.first)
	case s.first == s.last:
		fmt.Fprintf(&b, " number %d", s.first)
	default:
		fmt.Fprintf(&b, " number %d to %d", s.first, s.last)
	}
	if f.site.chance < 1 {
		fmt.Fprintf(&b, " with chance %g", f.site.chance)
	}
	if f.site.after {
		b.WriteString(" after its effect")
	}
	switch f.action {
	case fails:
		fmt.Fprintf(&b, ": %v", f.err)
	case delays:
		fmt.Fprintf(&b, ": delayed by %s", f.delay)
	case hangs:
		b.WriteString(": hanging")
	case crashes:
		b.WriteString(": crashing")
	case drops:
		b.WriteString(": dropped")
	case duplicates:
		b.WriteString(": duplicated")
	}
	return b.String()
}

func joined[W ~string](words []W) string {
	texts := make([]string, len(words))
	for i, word := range words {
		texts[i] = string(word)
	}
	return strings.Join(texts, ", ")
}
