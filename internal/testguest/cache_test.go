//go:build linux

package testguest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fill makes a folder of two files.
func fill(into string) error {
	return errors.Join(os.WriteFile(filepath.Join(into, "a"), nil, 0o600), os.WriteFile(filepath.Join(into, "b"), nil, 0o600))
}

func TestFolderIsMadeOnce(t *testing.T) {
	c := cache{dir: filepath.Join(t.TempDir(), "deep", "cache")}
	var made atomic.Int32
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			path, err := c.folder(t.Context(), "x", func(into string) error { made.Add(1); return fill(into) })
			assert.NoError(t, err)
			assert.FileExists(t, filepath.Join(path, "b"))
		})
	}
	all.Wait()
	assert.EqualValues(t, 1, made.Load())
}

func TestFolderThatIsNotFinished(t *testing.T) {
	c := cache{dir: t.TempDir()}
	broken := errors.New("broken")
	_, err := c.folder(t.Context(), "x", func(into string) error {
		return errors.Join(os.WriteFile(filepath.Join(into, "stray"), nil, 0o600), broken)
	})
	require.ErrorIs(t, err, broken)
	assert.NoDirExists(t, filepath.Join(c.dir, "x"))

	// What a killed process leaves behind.
	require.NoError(t, os.Mkdir(filepath.Join(c.dir, "unfinished"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(c.dir, "unfinished", "stray"), nil, 0o600))
	path, err := c.folder(t.Context(), "x", fill)
	require.NoError(t, err)
	assert.FileExists(t, filepath.Join(path, "a"))
	assert.NoFileExists(t, filepath.Join(path, "stray"))
	assert.NoDirExists(t, filepath.Join(c.dir, "unfinished"))
}

func TestFolderOfABusyCache(t *testing.T) {
	c := cache{dir: t.TempDir()}
	unlock, err := c.lock(t.Context())
	require.NoError(t, err)
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	_, err = c.folder(ctx, "x", fill)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	unlock()
	_, err = c.folder(t.Context(), "x", fill)
	require.NoError(t, err)
}

func TestFoldersThatNobodyAsksForGo(t *testing.T) {
	c := cache{dir: t.TempDir()}
	old, err := c.folder(t.Context(), "old", fill)
	require.NoError(t, err)
	asked, err := c.folder(t.Context(), "asked", fill)
	require.NoError(t, err)
	long := time.Now().Add(-2 * unused)
	require.NoError(t, os.Chtimes(old, long, long))
	require.NoError(t, os.Chtimes(asked, long, long))
	_, err = c.folder(t.Context(), "asked", fill)
	require.NoError(t, err)
	_, err = c.folder(t.Context(), "new", fill)
	require.NoError(t, err)
	assert.NoDirExists(t, old)
	assert.DirExists(t, asked)
}
