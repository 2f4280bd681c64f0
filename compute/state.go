package compute

import "slices"

// State is what an instance is doing. Transitional states (Creating, Starting,
// Stopping, Deleting) are shown where a provider knows them; nobody may depend
// on seeing one.
type State string

// The states of an instance.
const (
	// Creating instances are being made.
	Creating State = "creating"
	// Stopped instances were never started, or their last run has ended, with
	// whatever code.
	Stopped State = "stopped"
	// Starting instances are on their way to Running.
	Starting State = "starting"
	// Running instances run their main process, or their guest.
	Running State = "running"
	// Paused instances keep their memory but get no processor time.
	Paused State = "paused"
	// Suspended instances have their memory on disk and no process; Start
	// resumes the run.
	Suspended State = "suspended"
	// Stopping instances are on their way to Stopped.
	Stopping State = "stopping"
	// Deleting instances are on their way out.
	Deleting State = "deleting"
	// Failed instances cannot be used any more; only Delete and Sweep may
	// follow.
	Failed State = "failed"
	// Unknown is told where the backend cannot say.
	Unknown State = "unknown"
	// Gone is the state of no instance: it stands in the table for the result of
	// Delete.
	Gone State = "gone"
)

// States lists the states that an instance can be seen in.
func States() []State {
	return []State{Creating, Stopped, Starting, Running, Paused, Suspended, Stopping, Deleting, Failed, Unknown}
}

// Settled reports whether the state lasts until something happens: it is none
// of the transitional ones.
func (s State) Settled() bool {
	switch s {
	case Stopped, Running, Paused, Suspended, Failed:
		return true
	}
	return false
}

// Active reports whether a run is under way: the instance holds processor time
// or memory.
func (s State) Active() bool {
	switch s {
	case Starting, Running, Paused, Stopping:
		return true
	}
	return false
}

// Operation is something that is done to an instance.
type Operation string

// The operations of the transition table.
const (
	OpStart       Operation = "start"
	OpStop        Operation = "stop"
	OpPause       Operation = "pause"
	OpResume      Operation = "resume"
	OpSuspend     Operation = "suspend"
	OpRestart     Operation = "restart"
	OpReset       Operation = "reset"
	OpExec        Operation = "exec"
	OpAttach      Operation = "attach"
	OpDial        Operation = "dial"
	OpUpdate      Operation = "update"
	OpDelete      Operation = "delete"
	OpDeleteForce Operation = "delete (force)"
)

// Operations lists the operations of the transition table.
func Operations() []Operation {
	return []Operation{
		OpStart, OpStop, OpPause, OpResume, OpSuspend, OpRestart, OpReset,
		OpExec, OpAttach, OpDial, OpUpdate, OpDelete, OpDeleteForce,
	}
}

// Transition is one line of the table: what an operation does in a state.
type Transition struct {
	// From is the state before the operation Op.
	From State
	Op   Operation
	// To is the state after the operation; From itself where nothing changes.
	To State
	// NoOp says that the operation is already fulfilled: it returns nil, and
	// changes nothing.
	NoOp bool
}

// transitions is the one table of what is allowed. What is not listed is
// forbidden: FailedPrecondition, and nothing changes.
var transitions = []Transition{
	{From: Stopped, Op: OpStart, To: Running},
	{From: Suspended, Op: OpStart, To: Running},
	{From: Running, Op: OpStart, To: Running, NoOp: true},

	{From: Running, Op: OpStop, To: Stopped},
	{From: Paused, Op: OpStop, To: Stopped},
	{From: Suspended, Op: OpStop, To: Stopped},
	{From: Stopped, Op: OpStop, To: Stopped, NoOp: true},
	{From: Unknown, Op: OpStop, To: Stopped},

	{From: Running, Op: OpPause, To: Paused},
	{From: Paused, Op: OpPause, To: Paused, NoOp: true},
	{From: Paused, Op: OpResume, To: Running},
	{From: Running, Op: OpResume, To: Running, NoOp: true},

	{From: Running, Op: OpSuspend, To: Suspended},
	{From: Suspended, Op: OpSuspend, To: Suspended, NoOp: true},

	{From: Running, Op: OpRestart, To: Running},
	{From: Paused, Op: OpRestart, To: Running},
	{From: Stopped, Op: OpRestart, To: Running},
	{From: Running, Op: OpReset, To: Running},

	{From: Running, Op: OpExec, To: Running},
	{From: Running, Op: OpAttach, To: Running},
	{From: Running, Op: OpDial, To: Running},

	{From: Stopped, Op: OpUpdate, To: Stopped},
	{From: Running, Op: OpUpdate, To: Running},
	{From: Paused, Op: OpUpdate, To: Paused},
	{From: Suspended, Op: OpUpdate, To: Suspended},

	{From: Stopped, Op: OpDelete, To: Gone},
	{From: Suspended, Op: OpDelete, To: Gone},
	{From: Failed, Op: OpDelete, To: Gone},
	{From: Stopped, Op: OpDeleteForce, To: Gone},
	{From: Running, Op: OpDeleteForce, To: Gone},
	{From: Paused, Op: OpDeleteForce, To: Gone},
	{From: Suspended, Op: OpDeleteForce, To: Gone},
	{From: Failed, Op: OpDeleteForce, To: Gone},
	{From: Unknown, Op: OpDeleteForce, To: Gone},
}

// allowed indexes the table; a lookup is part of every operation.
var allowed = func() map[State]map[Operation]Transition {
	index := make(map[State]map[Operation]Transition)
	for _, t := range transitions {
		if index[t.From] == nil {
			index[t.From] = make(map[Operation]Transition)
		}
		index[t.From][t.Op] = t
	}
	return index
}()

// Transitions returns a copy of the table. A pair of state and operation that
// is not in it is forbidden.
func Transitions() []Transition { return slices.Clone(transitions) }

// Next returns what the operation does in the state, and false where it is
// forbidden.
func Next(from State, op Operation) (Transition, bool) {
	t, ok := allowed[from][op]
	return t, ok
}
