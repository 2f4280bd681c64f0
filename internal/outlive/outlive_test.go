package outlive

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		caller, end := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
		longer, cancel := Context(caller, time.Second)
		defer cancel()
		assert.Equal(t, caller, Asked(longer))
		assert.Equal(t, "value", longer.Value(key{}))
		end()
		synctest.Wait()
		require.NoError(t, longer.Err(), "the caller's end is not the work's")
		require.ErrorIs(t, Asked(longer).Err(), context.Canceled)
		time.Sleep(time.Second)
		synctest.Wait()
		require.ErrorIs(t, longer.Err(), context.Canceled)
	})
}

func TestWhatAContextEndedWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("why")
		caller, end := context.WithTimeoutCause(t.Context(), time.Second, why)
		defer end()
		longer, cancel := Context(caller, time.Second)
		defer cancel()
		<-longer.Done()
		require.ErrorIs(t, longer.Err(), context.Canceled)
		require.ErrorIs(t, context.Cause(longer), why)
		assert.Equal(t, context.DeadlineExceeded, Err(longer))
		assert.Equal(t, context.DeadlineExceeded, Err(caller))
		assert.NoError(t, Err(t.Context()))
	})
}

func TestContextLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caller, end := context.WithCancel(t.Context())
		longer, cancel := Context(caller, time.Hour)
		end()
		synctest.Wait()
		cancel()
		require.Error(t, longer.Err())
		_, unused := Context(t.Context(), time.Hour)
		unused()
	})
}

func TestAskedOfAnotherContext(t *testing.T) {
	assert.Equal(t, t.Context(), Asked(t.Context()))
}
