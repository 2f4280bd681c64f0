package compute

import (
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/resource"
)

// CheckTransition returns what the operation does in the state, or the error of
// a forbidden one: FailedPrecondition, with the state in its message and those in
// which the operation does something. Providers call it with what the backend said
// before they act.
func CheckTransition(from State, op Operation) (Transition, error) {
	t, ok := Next(from, op)
	if ok {
		return t, nil
	}
	what := fmt.Sprintf("the instance is %s", from)
	if states := statesFor(op); states != "" {
		what += ", and must be " + states
	}
	return Transition{}, &resource.Error{Kind: errdefs.ErrFailedPrecondition, Err: errors.New(what)}
}

// statesFor lists the states in which an operation does something, as text.
func statesFor(op Operation) string {
	var states []string
	for _, t := range transitions {
		if t.Op == op && !t.NoOp && t.From != Unknown {
			states = append(states, string(t.From))
		}
	}
	last := len(states) - 1
	if last < 1 {
		return strings.Join(states, "")
	}
	return strings.Join(states[:last], ", ") + " or " + states[last]
}

// fail is resource.Fail for an operation of the table.
func fail(op Operation, ref resource.Ref, err error) error {
	return resource.Fail(string(op), ref, err)
}
