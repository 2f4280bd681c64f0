package providertest

import (
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// A sequence is a list of steps, and a step is data: what to do, to which of a
// few names, with which of an action's variants. Any list is a valid sequence,
// whatever state the instances are in, so taking steps away always leaves one.
// The same sequence can be tried again, on another provider too.

// modelNames are the names of instances that steps speak of.
var modelNames = []string{"a", "b", "c"}

// step is one thing that is done.
type step struct {
	do *action
	// name is an index into modelNames.
	name int
	// old takes a handle on an instance of that name that was deleted before,
	// where there is one.
	old bool
	// choice selects among the action's variants, modulo their number.
	choice int
	// revision says what IfRevision holds, where the action has such an option.
	revision revisionChoice
}

// revisionChoice is what a call says of the revision.
type revisionChoice int

const (
	anyRevision revisionChoice = iota
	presentRevision
	// staleRevision is one that the instance had before, or none that it ever
	// had.
	staleRevision
)

func (s step) String() string {
	var b strings.Builder
	if s.old {
		b.WriteString("old ")
	}
	fmt.Fprintf(&b, "%s: %s", modelNames[s.name], s.do.name)
	if n := len(s.do.variants); n > 0 {
		fmt.Fprintf(&b, " %s", s.do.variants[s.choice%n])
	}
	if s.do.revised {
		switch s.revision {
		case presentRevision:
			b.WriteString(", if unchanged")
		case staleRevision:
			b.WriteString(", if as it was before")
		}
	}
	return b.String()
}

// variant is the index of the action's variant that the step chooses.
func (s step) variant() int {
	if n := len(s.do.variants); n > 0 {
		return s.choice % n
	}
	return 0
}

// forced is the state that a step has the harness bring about.
func (s step) forced() compute.State { return forcedStates[s.variant()] }

// sequenceString identifies a sequence.
func sequenceString(steps []step) string {
	parts := make([]string, len(steps))
	for i, s := range steps {
		parts[i] = s.String()
	}
	return strings.Join(parts, "\n")
}

// chapter is how many steps are drawn together: rapid shrinks a list by its
// elements, and draws lists that are short.
const chapter = 5

// generator gives the sequences that a seed stands for.
type generator func(seed uint64) *rapid.Generator[[]step]

// sequences generates sequences of about so many steps of the actions given.
// Sequences of seeds that follow each other begin with one opening after the
// other.
func sequences(actions []*action, steps int, openings [][]step) generator {
	var weighted []*action
	for _, a := range actions {
		for range a.weight {
			weighted = append(weighted, a)
		}
	}
	return func(seed uint64) *rapid.Generator[[]step] {
		return rapid.Custom(func(t *rapid.T) []step {
			var all []step
			d := dealer{actions: weighted}
			// What fails without its opening is shrunk to do so. No other sequence is
			// without one: a single number would be drawn as 0 too often.
			opens := rapid.SliceOfN(rapid.Bool(), neverAllFalse, neverAllFalse).Draw(t, "opens")
			if slices.Contains(opens, true) && len(openings) > 0 {
				all = slices.Clone(openings[seed%uint64(len(openings))])
				d.names = []int{0}
			}
			// Without a lower bound a list has five elements in the mean where it may
			// have ten or more.
			part := rapid.SliceOfN(rapid.Custom(d.deal), 0, 4*chapter)
			for range max(1, (steps+chapter-1)/chapter) {
				all = append(all, part.Draw(t, "steps")...)
			}
			return all
		})
	}
}

// neverAllFalse is a number of coins that never all show the same.
const neverAllFalse = 48

// openings are the shortest sequences that try each of the pairs.
func openings(pairs []pair) [][]step {
	running := []step{{do: createAction}, {do: startAction}}
	into := map[compute.State][]step{
		compute.Stopped:   running[:1],
		compute.Running:   running,
		compute.Paused:    append(slices.Clip(running), step{do: findAction("pause")}),
		compute.Suspended: append(slices.Clip(running), step{do: findAction("suspend")}),
	}
	for i, state := range forcedStates {
		into[state] = append(slices.Clip(running), step{do: findAction("break"), choice: i})
	}
	var all [][]step
	for _, p := range pairs {
		opening := slices.Clip(into[p.state])
		for _, a := range modelActions {
			if a.op == p.op {
				all = append(all, append(opening, step{do: a}))
				break
			}
		}
	}
	return all
}

// dealer deals the steps of one sequence. Most of them would be in vain if they
// spoke of any name: so the first creates an instance, and the others speak of
// names that were created, if perhaps deleted since. Of the instances that are
// created every other one is started at once.
type dealer struct {
	actions []*action
	names   []int
	// fresh says that the last step created an instance, and of which name.
	fresh bool
	last  int
}

// deal draws a step, in such an order and such that what is drawn as a smaller
// number is simpler.
func (d *dealer) deal(t *rapid.T) step {
	s := step{do: rapid.SampledFrom(d.actions).Draw(t, "action")}
	begins := d.fresh && rapid.Bool().Draw(t, "begins")
	if len(d.names) == 0 {
		s.do = createAction
	}
	switch {
	case begins:
		s.do, s.name = startAction, d.last
	case s.do == createAction:
		s.name = rapid.IntRange(0, len(modelNames)-1).Draw(t, "name")
		if !slices.Contains(d.names, s.name) {
			d.names = append(d.names, s.name)
		}
	default:
		s.name = rapid.SampledFrom(d.names).Draw(t, "name")
	}
	d.fresh, d.last = s.do == createAction, s.name
	s.choice = rapid.IntRange(0, choices-1).Draw(t, "choice")
	s.old = rapid.IntRange(0, 7).Draw(t, "old") == 7
	s.revision = rapid.SampledFrom([]revisionChoice{
		anyRevision, anyRevision, anyRevision, anyRevision, presentRevision, staleRevision,
	}).Draw(t, "revision")
	return s
}

// choices is a multiple of the numbers of variants, and no less than any.
const choices = 48

// modelProgram is a main process whose life is known.
type modelProgram struct {
	name string
	// command replaces the program of package guest.
	command []string
	args    []string
	// mortal programs end by themselves, with code.
	mortal bool
	code   int
	// asked is the code with which the program ends where Stop asks it to.
	asked int
	// ready programs print "ready" when they can be asked.
	ready bool
	// missing programs are not in the image.
	missing bool
	// memory is the limit that the program exceeds, or 0.
	memory int64
	// stdout and stderr are all that it prints of its own will, out and err in
	// lines; said is what it prints when it is asked to end.
	stdout, stderr []string
	said           []string
	needs          []need
}

// waits is the program that most steps are about: it leaves no doubt about the
// state.
var waits = modelProgram{name: "that waits", args: []string{"ready", "0s"}, asked: 128 + 15, ready: true, stdout: []string{"ready"}}

var modelPrograms = []modelProgram{
	waits,
	{name: "that ends with 0", args: []string{"exit", "0"}, mortal: true},
	waits,
	{name: "that traps signals", args: []string{"trap", "5"}, asked: 5, ready: true, stdout: []string{"ready"}, said: []string{"trapped TERM"}},
	waits,
	{name: "that ends with 7", args: []string{"exit", "7"}, mortal: true, code: 7},
	waits,
	{name: "that ignores signals", args: []string{"ignore"}, asked: 128 + 9, ready: true, stdout: []string{"ready"}},
	{name: "that prints", args: []string{"both", "3"}, mortal: true,
		stdout: []string{"out 1", "out 2", "out 3"}, stderr: []string{"err 1", "err 2", "err 3"}},
	{name: "that ends by a signal", args: []string{"die", "USR1"}, mortal: true, code: 128 + 10},
	waits,
	{name: "that ends later", args: []string{"late", "20ms", "bye"}, mortal: true, stdout: []string{"bye"}},
	{name: "that ends no line", args: []string{"printf", "no newline"}, mortal: true, stdout: []string{"no newline"}},
	{name: "that is missing", command: []string{"/bin/no-such-program"}, missing: true},
	waits,
	{name: "that needs too much memory", args: []string{"alloc", "268435456"}, mortal: true, code: 128 + 9,
		memory: 32 * resource.MiB, needs: all(has(compute.FeatureExitOOM), fields("resources.memory"))},
}

func (p modelProgram) process() compute.Process {
	if p.command != nil {
		return compute.Process{Command: p.command}
	}
	return compute.Process{Command: append([]string{GuestPath}, p.args...)}
}

func (p modelProgram) resources() compute.Resources {
	return compute.Resources{Memory: p.memory}
}
