//go:build unix && !solaris && !aix

package generations

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAGeneration(t *testing.T) {
	f := Folder(t.TempDir())
	assert.False(t, f.Alive("one"), "never begun")
	mark, err := f.Begin(t.Context(), "one")
	require.NoError(t, err)
	assert.True(t, f.Alive("one"))
	dead, err := f.Dead()
	require.NoError(t, err)
	assert.Empty(t, dead)
	require.ErrorIs(t, f.Forget("one"), errdefs.ErrNotFound)
	assert.True(t, f.Alive("one"))

	mark.Release() // as the end of the process does
	assert.False(t, f.Alive("one"))
	dead, err = f.Dead()
	require.NoError(t, err)
	assert.Equal(t, []string{"one"}, dead)
	kept := errors.New("is kept")
	require.ErrorIs(t, f.Forget("one", func() error { return kept }), kept)
	assert.FileExists(t, filepath.Join(string(f), "one"))
	require.NoError(t, f.Forget("one", func() error { return nil }))
	assert.NoFileExists(t, filepath.Join(string(f), "one"))
}

func TestNamesThatLeadOutside(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	f := Folder(filepath.Join(dir, "marks"))
	for _, id := range []string{"", "../file", "/etc/passwd", "a/b"} {
		assert.False(t, f.Alive(id), id)
	}
	dead, err := f.Dead()
	require.NoError(t, err, "a folder that is not there")
	assert.Empty(t, dead)
}
