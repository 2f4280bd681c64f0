package providertest

import (
	"bytes"
	"context"
	"runtime/pprof"
	"strconv"
	"strings"
)

// labelKey marks goroutines with the case that began them. Labels are inherited,
// so goroutines are told apart though cases run in parallel.
const labelKey = "providertest"

// labelled runs a function such that all goroutines that come of it carry the
// label of the case.
func (e *env) labelled(run func()) {
	pprof.Do(e.ctx, pprof.Labels(labelKey, e.label), func(context.Context) { run() })
}

// unlabelled runs a function such that the goroutines that come of it are those of no
// case.
func unlabelled(run func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		pprof.SetGoroutineLabels(context.Background())
		run()
	}()
	<-done
}

// checkGoroutines fails the case where goroutines of it go on. They are given
// time: ending is the last thing that a goroutine does, behind all that tells.
func (e *env) checkGoroutines() {
	e.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), e.s.h.Patience/3)
	defer cancel()
	var left []string
	gone := eventually(ctx, func() bool {
		left = goroutines(e.label)
		return len(left) == 0 || e.Failed()
	})
	if !gone {
		e.Errorf("goroutines of the case go on after everything was closed:\n%s", strings.Join(left, "\n"))
	}
}

// goroutines returns the stacks of the goroutines with a label.
func goroutines(label string) []string {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		return nil
	}
	// The first line says how many there are in all.
	_, stacks, _ := strings.Cut(profile.String(), "\n")
	var found []string
	for stack := range strings.SplitSeq(stacks, "\n\n") {
		if strings.Contains(stack, `"`+labelKey+`":"`+label+`"`) {
			found = append(found, stack)
		}
	}
	return found
}

// countGoroutines returns the number of goroutines with a label. The profile
// has equal stacks once, with their number in front.
func countGoroutines(label string) int {
	total := 0
	for _, stack := range goroutines(label) {
		number, _, _ := strings.Cut(stack, " ")
		n, err := strconv.Atoi(number)
		if err != nil {
			n = 1
		}
		total += n
	}
	return total
}
