package providertest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Run puts a provider to the test. Each case is a subtest; they run in parallel.
func Run(t *testing.T, h Harness) {
	t.Helper()
	s, err := newSuite(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close(t)
	count := newTally()
	all := groups()
	// The inner test ends when all parallel cases have.
	t.Run("cases", func(t *testing.T) {
		for _, g := range all {
			if len(h.Groups) > 0 && !slices.Contains(h.Groups, g.name) {
				continue
			}
			t.Run(g.name, func(t *testing.T) {
				t.Parallel()
				for _, c := range g.cases {
					t.Run(c.name, func(t *testing.T) {
						if reason := s.missing(c); reason != "" {
							count.skipped(g.name, reason)
							t.Skip("not offered: " + reason)
						}
						t.Parallel()
						left := ""
						// A failed case leaves by runtime.Goexit.
						defer func() {
							if left == "" {
								count.ran(g.name, c.needs)
							}
						}()
						if left = s.run(t, c); left != "" {
							count.skipped(g.name, left)
							t.Skip("not offered: " + left)
						}
					})
				}
			})
		}
	})
	for _, line := range count.report(all) {
		t.Log(line)
	}
	if filtered() || len(h.Groups) > 0 {
		t.Log("only some cases were asked for: what was left out is not counted")
		return
	}
	for _, n := range s.offer.declared() {
		if !count.tried(n) {
			t.Errorf("%s is declared, and no case that needs it has run", n)
		}
	}
}

// filtered reports whether the command line asked for some of the tests only.
func filtered() bool { return slices.ContainsFunc([]string{"test.run", "test.skip"}, flagSet) }

// tally counts which cases ran.
type tally struct {
	mu    sync.Mutex
	runs  map[string]int
	skips map[string]int
	// reasons counts why cases were left out.
	reasons map[string]int
	needs   map[need]int
}

func newTally() *tally {
	return &tally{runs: map[string]int{}, skips: map[string]int{}, reasons: map[string]int{}, needs: map[need]int{}}
}

func (c *tally) ran(group string, needs []need) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.runs[group]++
	for _, n := range needs {
		c.needs[n]++
	}
}

func (c *tally) skipped(group, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.skips[group]++
	c.reasons[reason]++
}

func (c *tally) tried(n need) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.needs[n] > 0
}

// report says how many cases of each group ran, and why others did not.
func (c *tally) report(groups []caseGroup) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var lines []string
	runs, skips := 0, 0
	for _, g := range groups {
		runs += c.runs[g.name]
		skips += c.skips[g.name]
		line := fmt.Sprintf("%-12s %3d ran", g.name, c.runs[g.name])
		if n := c.skips[g.name]; n > 0 {
			line += fmt.Sprintf(", %d left out", n)
		}
		lines = append(lines, line)
	}
	lines = append(lines, fmt.Sprintf("%-12s %3d ran, %d left out", "together", runs, skips))
	var reasons []string
	for reason, n := range c.reasons {
		reasons = append(reasons, fmt.Sprintf("left out %d: %s", n, reason))
	}
	slices.SortFunc(reasons, strings.Compare)
	return append(lines, reasons...)
}
