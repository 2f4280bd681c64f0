package compute_test

import (
	"slices"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"

	"github.com/univirt/univirt/compute"
)

func TestTransitionTable(t *testing.T) {
	type pair struct {
		from compute.State
		op   compute.Operation
	}
	seen, ops := map[pair]bool{}, map[compute.Operation]bool{}
	for _, tr := range compute.Transitions() {
		at := pair{tr.From, tr.Op}
		assert.False(t, seen[at], "%v is there twice", at)
		seen[at] = true
		ops[tr.Op] = true
		assert.Contains(t, compute.States(), tr.From)
		assert.Contains(t, compute.Operations(), tr.Op)
		if tr.To == compute.Gone {
			assert.Contains(t, []compute.Operation{compute.OpDelete, compute.OpDeleteForce}, tr.Op)
		} else {
			assert.Contains(t, compute.States(), tr.To, "the table is closed")
			assert.True(t, tr.To.Settled(), "an operation returns when the state is settled: %v", tr)
		}
		if tr.NoOp {
			assert.Equal(t, tr.From, tr.To, "what is already fulfilled changes nothing: %v", tr)
		}
		assert.NotContains(t, []compute.State{compute.Creating, compute.Starting, compute.Stopping, compute.Deleting}, tr.From,
			"an operation waits for a transitional state to pass")
	}
	for _, op := range compute.Operations() {
		assert.True(t, ops[op], "%s is allowed nowhere", op)
	}
}

// Each line of the table as a sentence, so that a change of it is a change here.
func TestTransitionTableSaysWhatTheContractSays(t *testing.T) {
	after := func(from compute.State, op compute.Operation) compute.State {
		tr, ok := compute.Next(from, op)
		if !ok {
			return ""
		}
		return tr.To
	}
	const forbidden compute.State = ""
	order := []compute.State{compute.Stopped, compute.Running, compute.Paused, compute.Suspended, compute.Failed, compute.Unknown}
	for op, want := range map[compute.Operation][]compute.State{
		compute.OpStart:       {compute.Running, compute.Running, forbidden, compute.Running, forbidden, forbidden},
		compute.OpStop:        {compute.Stopped, compute.Stopped, compute.Stopped, compute.Stopped, forbidden, compute.Stopped},
		compute.OpPause:       {forbidden, compute.Paused, compute.Paused, forbidden, forbidden, forbidden},
		compute.OpResume:      {forbidden, compute.Running, compute.Running, forbidden, forbidden, forbidden},
		compute.OpSuspend:     {forbidden, compute.Suspended, forbidden, compute.Suspended, forbidden, forbidden},
		compute.OpRestart:     {compute.Running, compute.Running, compute.Running, forbidden, forbidden, forbidden},
		compute.OpReset:       {forbidden, compute.Running, forbidden, forbidden, forbidden, forbidden},
		compute.OpExec:        {forbidden, compute.Running, forbidden, forbidden, forbidden, forbidden},
		compute.OpAttach:      {forbidden, compute.Running, forbidden, forbidden, forbidden, forbidden},
		compute.OpDial:        {forbidden, compute.Running, forbidden, forbidden, forbidden, forbidden},
		compute.OpUpdate:      {compute.Stopped, compute.Running, compute.Paused, compute.Suspended, forbidden, forbidden},
		compute.OpDelete:      {compute.Gone, forbidden, forbidden, compute.Gone, compute.Gone, forbidden},
		compute.OpDeleteForce: {compute.Gone, compute.Gone, compute.Gone, compute.Gone, compute.Gone, compute.Gone},
	} {
		for i, from := range order {
			assert.Equal(t, want[i], after(from, op), "%s of a %s instance", op, from)
		}
	}
	assert.Len(t, compute.Operations(), 13)
}

func TestCheckTransition(t *testing.T) {
	for _, from := range append(compute.States(), compute.Gone, "") {
		for _, op := range append(compute.Operations(), "levitate") {
			want, ok := compute.Next(from, op)
			got, err := compute.CheckTransition(from, op)
			assert.Equal(t, want, got)
			if ok {
				assert.NoError(t, err)
			} else {
				assert.True(t, errdefs.IsFailedPrecondition(err))
				assert.Regexp(t, "^the instance is "+string(from)+"(, and must be [a-z, ]+)?$", err.Error())
			}
		}
	}
}

func TestAForbiddenTransitionSaysWhatWouldBeAllowed(t *testing.T) {
	for op, want := range map[compute.Operation]string{
		compute.OpDelete: "the instance is running, and must be stopped, suspended or failed",
		compute.OpResume: "the instance is stopped, and must be paused",
		"levitate":       "the instance is running",
	} {
		from := compute.Running
		if op == compute.OpResume {
			from = compute.Stopped
		}
		_, err := compute.CheckTransition(from, op)
		assert.EqualError(t, err, want)
	}
}

func TestTransitionsAreACopy(t *testing.T) {
	table := compute.Transitions()
	table[0].To = compute.Failed
	assert.NotEqual(t, table, compute.Transitions())
	states := compute.States()
	slices.Reverse(states)
	assert.NotEqual(t, states, compute.States())
}

func TestStates(t *testing.T) {
	settled := map[compute.State]bool{
		compute.Stopped: true, compute.Running: true, compute.Paused: true, compute.Suspended: true, compute.Failed: true,
	}
	active := map[compute.State]bool{compute.Starting: true, compute.Running: true, compute.Paused: true, compute.Stopping: true}
	seen := map[compute.State]bool{}
	for _, s := range compute.States() {
		assert.False(t, seen[s])
		seen[s] = true
		assert.Equal(t, settled[s], s.Settled(), s)
		assert.Equal(t, active[s], s.Active(), s)
	}
	assert.False(t, seen[compute.Gone], "an instance is never seen gone")
}

func TestLevelString(t *testing.T) {
	for level, want := range map[compute.Level]string{
		-1: "unknown", compute.LevelNone: "none", compute.LevelCreated: "created", compute.LevelRunning: "running",
		compute.LevelBooted: "booted", compute.LevelAgent: "agent", compute.LevelAddress: "address", compute.LevelHealthy: "healthy",
		compute.LevelHealthy + 1: "unknown",
	} {
		assert.Equal(t, want, level.String())
	}
}
