// Package callbacks calls functions of a provider's callers in the middle of its
// operations.
package callbacks

import (
	"context"

	"github.com/univirt/univirt/resource"
)

// Run calls a function of the caller's. When the provider is closed, which alive's
// end says, it is not waited for, as it may be what closes it: the error is
// resource.ErrClosed then.
func Run[T any](alive context.Context, call func() (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	over := make(chan outcome, 1)
	go func() {
		value, err := call()
		over <- outcome{value, err}
	}()
	select {
	case o := <-over:
		return o.value, o.err
	case <-alive.Done():
		var none T
		return none, resource.Errorf(resource.ErrClosed, "provider is closed")
	}
}
