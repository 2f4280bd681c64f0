//go:build unix && !solaris && !aix

package filelock

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAnExclusiveLockHasOneHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	var inside, most atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				l, err := Acquire(t.Context(), path, Exclusive)
				if !assert.NoError(t, err) {
					return
				}
				if n := inside.Add(1); n > most.Load() {
					most.Store(n)
				}
				inside.Add(-1)
				// Removing the file must make no second holder.
				l.Remove()
			}
		})
	}
	all.Wait()
	assert.Equal(t, int32(1), most.Load())
}

func TestSharedHoldersKeepOutAnExclusiveOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	a, err := Acquire(t.Context(), path, Shared)
	require.NoError(t, err)
	b, err := Acquire(t.Context(), path, Shared)
	require.NoError(t, err)
	held, err := Held(path)
	require.NoError(t, err)
	assert.False(t, held, "a shared lock is no exclusive one")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Acquire(ctx, path, Exclusive)
	require.ErrorIs(t, err, context.Canceled)
	a.Release()
	b.Release()
	c, err := Acquire(t.Context(), path, Exclusive)
	require.NoError(t, err)
	held, err = Held(path)
	require.NoError(t, err)
	assert.True(t, held)
	c.Release()
	(*Lock)(nil).Release()
	(*Lock)(nil).Remove()
}

func TestALinkIsNotFollowed(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Symlink(filepath.Join(dir, "elsewhere"), filepath.Join(dir, "lock")))
	_, err := Acquire(t.Context(), filepath.Join(dir, "lock"), Exclusive)
	require.Error(t, err)
	assert.NoFileExists(t, filepath.Join(dir, "elsewhere"))
}
