//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStrays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := withStrays(t.Context())
		s := straysOf(ctx)
		require.NoError(t, s.await(ctx), "there are none")
		first, second := make(chan struct{}), make(chan struct{})
		s.add(first)
		s.add(second)
		began := time.Now()
		time.AfterFunc(time.Second, func() { close(second) })
		time.AfterFunc(time.Minute, func() { close(first) })
		done := make(chan error, 2)
		for range 2 {
			go func() { done <- s.await(ctx) }()
		}
		require.NoError(t, <-done)
		require.NoError(t, <-done)
		assert.Equal(t, time.Minute, time.Since(began))
		assert.Empty(t, s.calls)

		s.add(make(chan struct{}))
		late, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		require.ErrorIs(t, s.await(late), context.DeadlineExceeded)

		none := straysOf(t.Context())
		none.add(make(chan struct{}))
		require.NoError(t, none.await(t.Context()))
		over, end := context.WithCancel(t.Context())
		end()
		require.ErrorIs(t, none.await(over), context.Canceled)
	})
}
