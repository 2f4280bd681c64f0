package outlive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/resource"
)

// Effects says whether an operation has asked its backend to change something. Of one
// that lost its backend afterwards, or whose context ended, nobody knows what became of
// it. Nil notes nothing and knows nothing.
type Effects struct{ asked atomic.Bool }

type effectsKey struct{}

// WithEffects returns a context whose changes are noted.
func WithEffects(ctx context.Context) context.Context {
	return context.WithValue(ctx, effectsKey{}, new(Effects))
}

// EffectsOf returns where the changes of a context are noted.
func EffectsOf(ctx context.Context) *Effects {
	e, _ := ctx.Value(effectsKey{}).(*Effects)
	return e
}

// Ask notes that a change is about to be asked for, and reports whether it may: an
// operation whose caller has given up begins to change nothing. What it has begun it may
// go on with, to leave it whole.
func Ask(ctx context.Context) bool {
	e := EffectsOf(ctx)
	switch {
	case e == nil || e.asked.Load():
		return true
	case Asked(ctx).Err() != nil:
		return false
	}
	e.asked.Store(true)
	return true
}

// Asked reports whether a change was asked for, and not undone.
func (e *Effects) Asked() bool { return e != nil && e.asked.Load() }

// Undone notes that everything is as it was before.
func (e *Effects) Undone() {
	if e != nil {
		e.asked.Store(false)
	}
}

// Sure completes the error of an operation that was cut off: where it had asked for a
// change, the outcome is not known. An error that knows more is returned as it is.
func (e *Effects) Sure(err error) error {
	if !e.Asked() {
		return err
	}
	if !cutOff(err) {
		return err
	}
	var own *resource.Error
	if errors.As(err, &own) && own.Outcome != resource.NotDone {
		return err
	}
	out := resource.Error{Kind: resource.KindOf(err), Err: err}
	if own == err {
		out = *own
	} else if own != nil {
		out.Field, out.Left, out.Logs = own.Field, own.Left, own.Logs
	}
	out.Outcome = resource.OutcomeUnknown
	return &out
}

// cutOff reports whether an error is of what was ended in its middle.
func cutOff(err error) bool {
	return errors.Is(err, errdefs.ErrUnavailable) || errors.Is(err, resource.ErrClosed) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// NotUndone completes the error of an operation that failed: what it did could not be
// undone, why, and what it has left. Why is told, and is no cause.
func NotUndone(cause, why error, left ...resource.Ref) error {
	out := resource.Error{Kind: resource.KindOf(cause), Err: cause}
	var own *resource.Error
	if errors.As(cause, &own) {
		out.Field, out.Left, out.Logs = own.Field, own.Left, own.Logs
		if own == cause {
			out.Err = own.Err
		}
	}
	out.Err = fmt.Errorf("%w; and the undo failed: %v", out.Err, why)
	out.Outcome, out.Left = resource.OutcomeUnknown, slices.Concat(out.Left, left)
	return &out
}
