package keeper

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestInstall(t *testing.T) {
	content := []byte("#!/bin/sh\nexit 0\n")
	const other = 12345
	root := os.Geteuid() == 0

	cases := map[string]struct {
		prepare func(t *testing.T, dir, path string)
		refused bool
		asRoot  bool
	}{
		"no folder":    {prepare: func(t *testing.T, dir, _ string) { require.NoError(t, os.Remove(dir)) }},
		"empty folder": {prepare: func(*testing.T, string, string) {}},
		"truncated": {prepare: func(t *testing.T, _, path string) {
			require.NoError(t, os.WriteFile(path, content[:5], 0o755))
		}},
		"longer": {prepare: func(t *testing.T, _, path string) {
			require.NoError(t, os.WriteFile(path, append([]byte(nil), append(content, 'x')...), 0o755))
		}},
		"altered": {prepare: func(t *testing.T, _, path string) {
			require.NoError(t, os.WriteFile(path, append([]byte("X"), content[1:]...), 0o755))
		}},
		"not executable": {prepare: func(t *testing.T, _, path string) {
			require.NoError(t, os.WriteFile(path, content, 0o600))
		}},
		"writable by others": {prepare: func(t *testing.T, _, path string) {
			require.NoError(t, os.WriteFile(path, content, 0o600))
			require.NoError(t, os.Chmod(path, 0o777))
		}},
		"owned by another": {asRoot: true, prepare: func(t *testing.T, _, path string) {
			require.NoError(t, os.WriteFile(path, content, 0o755))
			require.NoError(t, os.Chown(path, other, other))
		}},
		"a link": {prepare: func(t *testing.T, dir, path string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "target"), content, 0o755))
			require.NoError(t, os.Symlink("target", path))
		}},
		"a folder in its place": {refused: true, prepare: func(t *testing.T, _, path string) {
			require.NoError(t, os.Mkdir(path, 0o700))
		}},
		"folder writable by the group": {refused: true, prepare: func(t *testing.T, dir, _ string) {
			require.NoError(t, os.Chmod(dir, 0o770))
		}},
		"folder writable by all, sticky": {refused: true, prepare: func(t *testing.T, dir, _ string) {
			require.NoError(t, os.Chmod(dir, 0o777|fs.ModeSticky))
		}},
		"folder owned by another": {asRoot: true, refused: true, prepare: func(t *testing.T, dir, _ string) {
			require.NoError(t, os.Chown(dir, other, other))
		}},
		"parent writable by all": {refused: true, prepare: func(t *testing.T, dir, _ string) {
			require.NoError(t, os.Chmod(filepath.Dir(dir), 0o777))
		}},
		"parent writable by all, sticky": {prepare: func(t *testing.T, dir, _ string) {
			require.NoError(t, os.Chmod(filepath.Dir(dir), 0o777|fs.ModeSticky))
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if c.asRoot && !root {
				t.Skip("only root can give a file away")
			}
			// The path is known beforehand from an installation elsewhere.
			model, err := install(filepath.Join(t.TempDir(), "model"), content)
			require.NoError(t, err)
			dir := filepath.Join(t.TempDir(), "parent", "dir")
			require.NoError(t, os.MkdirAll(dir, 0o700))
			want := filepath.Join(dir, filepath.Base(model))
			c.prepare(t, dir, want)

			for range 2 {
				path, err := install(dir, content)
				if c.refused {
					require.Error(t, err)
					continue
				}
				require.NoError(t, err)
				assert.Equal(t, want, path)
				assert.NoError(t, verify(path, content))
				entries, err := filepath.Glob(filepath.Join(dir, ".keeper-*"))
				require.NoError(t, err)
				assert.Empty(t, entries, "temporary files are left")
			}
		})
	}
}

func TestInstallKeepsWhatIsGood(t *testing.T) {
	dir := t.TempDir()
	path, err := install(dir, []byte("content"))
	require.NoError(t, err)
	before, err := os.Stat(path)
	require.NoError(t, err)
	_, err = install(dir, []byte("content"))
	require.NoError(t, err)
	after, err := os.Stat(path)
	require.NoError(t, err)
	assert.True(t, os.SameFile(before, after))

	other, err := install(dir, []byte("another version"))
	require.NoError(t, err)
	assert.NotEqual(t, path, other)
	assert.FileExists(t, path, "a version in use is not removed")
}

func TestInstallResolvesLinks(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(dir, link))
	path, err := install(link, []byte("content"))
	require.NoError(t, err)
	assert.Equal(t, dir, filepath.Dir(path))
}

func TestInstallAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dir")
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			path, err := Install(dir)
			if assert.NoError(t, err) {
				assert.NoError(t, verify(path, binary))
			}
		})
	}
	group.Wait()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, entries, 1)
}

func TestInstallNamesTheReason(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o777))
	_, err := Install(dir)
	require.ErrorIs(t, err, ErrUntrusted)
	assert.ErrorContains(t, err, dir)
	assert.False(t, errors.Is(err, errors.ErrUnsupported))
}

func TestInstallOnNoexec(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOEXEC, "size=1m,mode=700"); err != nil {
		t.Skip("nothing can be mounted here: ", err)
	}
	t.Cleanup(func() { assert.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	_, err := install(dir, []byte("content"))
	require.ErrorIs(t, err, ErrUntrusted)
	assert.ErrorContains(t, err, "noexec")
}
