package turns

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTurnsOfOneResourceQueueAndOthersDoNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q Queue
		pass, err := q.Take(t.Context(), "a")
		require.NoError(t, err)
		other, err := q.Take(t.Context(), "b")
		require.NoError(t, err)
		other()

		second := make(chan func())
		go func() {
			pass, err := q.Take(t.Context(), "a")
			assert.NoError(t, err)
			second <- pass
		}()
		synctest.Wait()
		select {
		case <-second:
			require.Fail(t, "the second took the turn of the first")
		default:
		}
		pass()
		(<-second)()
		assert.True(t, q.Idle())
	})
}

func TestATurnThatIsNotWaitedForAnyMoreIsLeft(t *testing.T) {
	var q Queue
	pass, err := q.Take(t.Context(), "a")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = q.Take(ctx, "a")
	require.ErrorIs(t, err, context.Canceled)
	assert.True(t, q.Busy("a"))
	pass()
	assert.False(t, q.Busy("a"))
}

func TestOnlyAShorterPatienceHurries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q Queue
		assert.False(t, q.Hurry("a", time.Now()), "nobody waits")
		pass, err := q.Take(t.Context(), "a")
		require.NoError(t, err)
		defer pass()
		assert.False(t, q.Waited("a"))
		patience, done := q.Wait("a", time.Now().Add(time.Minute))
		assert.True(t, q.Waited("a"))
		assert.False(t, q.Hurry("a", time.Now().Add(time.Hour)))
		assert.True(t, q.Hurry("a", time.Now().Add(time.Second)))
		<-patience.Shortened()
		assert.Equal(t, time.Second, patience.Remaining())
		done()
		assert.False(t, q.Waited("a"))
	})
}
