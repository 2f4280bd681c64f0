// Package outlive is for operations whose calls to a backend may not end in their
// middle: contexts that outlive a caller's, and what became of an operation whose caller
// has given up.
package outlive

import (
	"context"
	"errors"
	"time"
)

type askedKey struct{}

// Context returns a context that ends some time after the one given, for
// [Err] with its error. Its function must be called when the work is done.
func Context(ctx context.Context, by time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancelCause(context.WithValue(context.WithoutCancel(ctx), askedKey{}, ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(by)
		defer timer.Stop()
		select {
		case <-longer.Done():
		case <-timer.C:
			cancel(errors.Join(ctx.Err(), context.Cause(ctx)))
		}
	})
	return longer, func() { stop(); cancel(nil) }
}

// Asked returns the context that a longer one was made of, whose end tells the
// work to begin nothing more; another context is returned as it is.
func Asked(ctx context.Context) context.Context {
	if caller, ok := ctx.Value(askedKey{}).(context.Context); ok {
		return caller
	}
	return ctx
}

// Err is the context's error, or of one made by [Context] that ended with its caller's
// the caller's: a context has no way to end with another's DeadlineExceeded.
func Err(ctx context.Context) error {
	if err := ctx.Err(); err == nil || !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return err
	}
	return context.DeadlineExceeded
}
