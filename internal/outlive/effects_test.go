package outlive

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/resource"
)

func TestEffects(t *testing.T) {
	lost := resource.Errorf(errdefs.ErrUnavailable, "lost")
	done := &resource.Error{Kind: errdefs.ErrUnavailable, Err: errors.New("lost"), Outcome: resource.Done}
	for name, c := range map[string]struct {
		err  error
		want resource.Outcome
	}{
		"a lost backend":        {lost, resource.OutcomeUnknown},
		"a backend of its own":  {errdefs.ErrUnavailable, resource.OutcomeUnknown},
		"a cancelled context":   {context.Canceled, resource.OutcomeUnknown},
		"a late context":        {context.DeadlineExceeded, resource.OutcomeUnknown},
		"a provider's end":      {resource.Errorf(resource.ErrClosed, "closed"), resource.OutcomeUnknown},
		"what is known already": {done, resource.Done},
		"what is known inside":  {fmt.Errorf("so: %w", done), resource.Done},
		"what has an answer":    {resource.Errorf(errdefs.ErrNotFound, "none"), resource.NotDone},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := WithEffects(t.Context())
			e := EffectsOf(ctx)
			assert.Equal(t, c.err, e.Sure(c.err), "nothing was asked for")
			assert.True(t, Ask(ctx))
			got := e.Sure(c.err)
			require.ErrorContains(t, got, c.err.Error())
			assert.Equal(t, resource.KindOf(c.err), resource.KindOf(got))
			var own *resource.Error
			require.ErrorAs(t, got, &own)
			assert.Equal(t, c.want, own.Outcome)
			e.Undone()
			assert.Equal(t, c.err, e.Sure(c.err), "it was undone")
		})
	}
	assert.Equal(t, resource.NotDone, lost.Outcome, "the error itself is left alone")
	assert.NoError(t, new(Effects).Sure(nil))
	none := EffectsOf(t.Context())
	assert.True(t, Ask(t.Context()))
	none.Undone()
	assert.Equal(t, lost, none.Sure(lost))
}

func TestWhoseCallerHasGivenUpBeginsNothing(t *testing.T) {
	caller, giveUp := context.WithCancel(WithEffects(t.Context()))
	longer, cancel := Context(caller, time.Hour)
	defer cancel()
	giveUp()
	assert.False(t, Ask(longer))
	assert.Equal(t, context.Canceled, EffectsOf(longer).Sure(context.Canceled), "nothing was asked for")
	undo, end := Context(context.WithoutCancel(caller), time.Hour)
	defer end()
	assert.True(t, Ask(undo), "the undo has not given up")
	assert.True(t, Ask(longer), "what was begun goes on")
}

func TestNotUndone(t *testing.T) {
	left := resource.Ref{Kind: resource.KindInstance, Name: "web"}
	cause := &resource.Error{Kind: errdefs.ErrInvalidArgument, Field: "name", Err: errors.New("bad"), Left: []resource.Ref{{Name: "other"}}}
	err := NotUndone(cause, context.DeadlineExceeded, left)
	assert.NotErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
	require.ErrorContains(t, err, "bad; and the undo failed: context deadline exceeded")
	var own *resource.Error
	require.ErrorAs(t, err, &own)
	assert.Equal(t, "name", own.Field)
	assert.Equal(t, resource.OutcomeUnknown, own.Outcome)
	assert.Equal(t, []resource.Ref{{Name: "other"}, left}, own.Left)
	assert.Len(t, cause.Left, 1)
	require.ErrorIs(t, NotUndone(context.Canceled, errdefs.ErrUnavailable), context.Canceled)
}
