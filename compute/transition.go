package compute

import (
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/resource"
)

// CheckTransition returns what the operation does in the state, or the error of
// a forbidden one: FailedPrecondition, with the state in its message. Providers
// call it with what the backend said before they act.
func CheckTransition(from State, op Operation) (Transition, error) {
	t, ok := Next(from, op)
	if ok {
		return t, nil
	}
	return Transition{}, &resource.Error{
		Kind: errdefs.ErrFailedPrecondition,
		Err:  fmt.Errorf("the instance is %s", from),
	}
}

// fail is resource.Fail for an operation of the table.
func fail(op Operation, ref resource.Ref, err error) error {
	return resource.Fail(string(op), ref, err)
}
