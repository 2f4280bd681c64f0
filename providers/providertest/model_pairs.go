package providertest

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/univirt/univirt/compute"
)

// pairs counts which operations were tried in which states.
type pairs struct {
	mu    sync.Mutex
	tried map[pair]int
	// refused are the states that the harness could not bring about.
	refused map[compute.State]bool
	// steps and sequences are how many there were.
	steps, sequences int
}

// pair is an operation in a state.
type pair struct {
	state compute.State
	op    compute.Operation
}

func (p pair) String() string { return fmt.Sprintf("%s of a %s instance", p.op, p.state) }

func newPairs() *pairs {
	return &pairs{tried: make(map[pair]int), refused: make(map[compute.State]bool)}
}

// count counts an operation where there is no doubt in which state it is tried.
func (c *pairs) count(truths []truth, op compute.Operation) {
	if op == "" || len(truths) == 0 {
		return
	}
	for _, t := range truths {
		if t.state != truths[0].state {
			return
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tried[pair{truths[0].state, op}]++
}

// refuse notes that the harness could not bring about a state.
func (c *pairs) refuse(state compute.State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused[state] = true
}

// sequence counts a sequence.
func (c *pairs) sequence(steps int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sequences++
	c.steps += steps
}

// forcedStates are those to which no operation leads.
var forcedStates = []compute.State{compute.Failed, compute.Unknown}

// wantedPairs lists the pairs that the declared capabilities make possible: each
// operation in each settled state to which an operation leads, and in those that
// the harness brings about.
func wantedPairs(o offer) []pair {
	var ops []compute.Operation
	for _, op := range compute.Operations() {
		if allOffer([]offer{o}, findOperation(op).needs) {
			ops = append(ops, op)
		}
	}
	// What can be reached from an instance that was just made.
	states := []compute.State{compute.Stopped}
	for i := 0; i < len(states); i++ {
		for _, op := range ops {
			t, ok := compute.Next(states[i], op)
			if ok && t.To.Settled() && !slices.Contains(states, t.To) {
				states = append(states, t.To)
			}
		}
	}
	if allOffer([]offer{o}, hook("Force")) {
		states = append(states, forcedStates...)
	}
	var wanted []pair
	for _, state := range states {
		for _, op := range ops {
			wanted = append(wanted, pair{state, op})
		}
	}
	return wanted
}

// never lists the wanted pairs that were not tried. Those of a state that the
// harness cannot bring about are none.
func (c *pairs) never(wanted []pair) []pair {
	c.mu.Lock()
	defer c.mu.Unlock()
	reached := make(map[compute.State]bool)
	for p := range c.tried {
		reached[p.state] = true
	}
	return slices.DeleteFunc(slices.Clone(wanted), func(p pair) bool {
		return c.tried[p] > 0 || c.refused[p.state] && !reached[p.state]
	})
}

// table shows how often each pair was tried: a line for each operation, a column
// for each state.
func (c *pairs) table() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "%-16s", "")
	for _, state := range compute.States() {
		if state.Settled() || state == compute.Unknown {
			fmt.Fprintf(&b, "%10s", state)
		}
	}
	for _, op := range compute.Operations() {
		fmt.Fprintf(&b, "\n%-16s", op)
		for _, state := range compute.States() {
			if state.Settled() || state == compute.Unknown {
				fmt.Fprintf(&b, "%10d", c.tried[pair{state, op}])
			}
		}
	}
	return b.String()
}
