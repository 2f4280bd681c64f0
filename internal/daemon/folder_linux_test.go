package daemon

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: gives files away and mounts")
	}
}

func TestStartRefusesFolder(t *testing.T) {
	for name, tt := range map[string]struct {
		make func(t *testing.T, config *Config)
		kind error
		says string
	}{
		"with foreign files": {func(t *testing.T, c *Config) {
			require.NoError(t, os.Mkdir(c.Dir, 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(c.Dir, "thesis.txt"), nil, 0o600))
		}, errdefs.ErrFailedPrecondition, `"thesis.txt"`},
		"writable by the group": {func(t *testing.T, c *Config) {
			require.NoError(t, os.Mkdir(c.Dir, 0o700))
			require.NoError(t, os.Chmod(c.Dir, 0o770))
		}, errdefs.ErrPermissionDenied, "writable by others"},
		"writable by all": {func(t *testing.T, c *Config) {
			require.NoError(t, os.Mkdir(c.Dir, 0o700))
			require.NoError(t, os.Chmod(c.Dir, 0o777|os.ModeSticky))
		}, errdefs.ErrPermissionDenied, "writable by others"},
		"with an open parent": {func(t *testing.T, c *Config) {
			parent := filepath.Join(filepath.Dir(c.Dir), "open")
			c.Dir = filepath.Join(parent, "d")
			require.NoError(t, os.Mkdir(parent, 0o700))
			require.NoError(t, os.Chmod(parent, 0o777))
		}, errdefs.ErrPermissionDenied, "its parent"},
		"of somebody else": {func(t *testing.T, c *Config) {
			needRoot(t)
			require.NoError(t, os.Mkdir(c.Dir, 0o700))
			require.NoError(t, os.Chown(c.Dir, 4711, 4711))
		}, errdefs.ErrPermissionDenied, "uid 4711"},
		"with a parent of somebody else": {func(t *testing.T, c *Config) {
			needRoot(t)
			parent := filepath.Join(filepath.Dir(c.Dir), "other")
			c.Dir = filepath.Join(parent, "d")
			require.NoError(t, os.Mkdir(parent, 0o700))
			require.NoError(t, os.Chown(parent, 4711, 4711))
		}, errdefs.ErrPermissionDenied, "uid 4711"},
		"through a link of somebody else": {func(t *testing.T, c *Config) {
			needRoot(t)
			link := filepath.Join(filepath.Dir(c.Dir), "link")
			c.Dir = filepath.Join(link, "d")
			require.NoError(t, os.Symlink(t.TempDir(), link))
			require.NoError(t, os.Lchown(link, 4711, 4711))
		}, errdefs.ErrPermissionDenied, "uid 4711"},
		"that is a link": {func(t *testing.T, c *Config) {
			require.NoError(t, os.Symlink(t.TempDir(), c.Dir))
		}, errdefs.ErrFailedPrecondition, "not a folder"},
		"that is a file": {func(t *testing.T, c *Config) {
			require.NoError(t, os.WriteFile(c.Dir, nil, 0o600))
		}, errdefs.ErrFailedPrecondition, "not a folder"},
		"of another daemon": {func(t *testing.T, c *Config) {
			f, err := claim(background, c.Dir, "other")
			require.NoError(t, err)
			f.unlock()
		}, errdefs.ErrFailedPrecondition, `"other"`},
		"of a newer version": {func(t *testing.T, c *Config) {
			f, err := claim(background, c.Dir, "fake")
			require.NoError(t, err)
			f.owner.Version++
			require.NoError(t, writeRecord(f.path(ownerFile), f.owner))
			f.unlock()
		}, errdefs.ErrFailedPrecondition, "version 2"},
		"with a newer process record": {func(t *testing.T, c *Config) {
			f, err := claim(background, c.Dir, "fake")
			require.NoError(t, err)
			require.NoError(t, writeRecord(f.path(processFile), record{Version: recordVersion + 1}))
			f.unlock()
		}, errdefs.ErrFailedPrecondition, "version 2"},
		"with a broken record": {func(t *testing.T, c *Config) {
			f, err := claim(background, c.Dir, "fake")
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(f.path(processFile), []byte("{"), 0o600))
			f.unlock()
		}, errdefs.ErrDataLoss, processFile},
		"with a link as log": {func(t *testing.T, c *Config) {
			f, err := claim(background, c.Dir, "fake")
			require.NoError(t, err)
			require.NoError(t, os.Symlink("/etc/passwd", f.path(logFile)))
			f.unlock()
		}, unix.ELOOP, logFile},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			config := fakeConfig(dir)
			tt.make(t, &config)
			before := content(t, dir)
			_, err := os.Lstat(filepath.Join(config.Dir, ownerFile))
			ours := err == nil
			_, err = Start(background, config)
			require.ErrorIs(t, err, tt.kind)
			assert.ErrorContains(t, err, tt.says)
			assert.Empty(t, running(t, dir))
			if !ours {
				assert.Equal(t, before, content(t, dir), "a refused folder is not written to")
			}
		})
	}
}

// content lists all paths below dir.
func content(t *testing.T, dir string) (paths []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	}))
	return paths
}

func TestStartTakesFolder(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, dir string){
		"absent with absent parents": func(*testing.T, string) {},
		"empty": func(t *testing.T, dir string) {
			require.NoError(t, os.MkdirAll(dir, 0o700))
		},
		"left by a start that was killed": func(t *testing.T, dir string) {
			require.NoError(t, os.MkdirAll(dir, 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(dir, startFile), nil, 0o600))
			require.NoError(t, os.WriteFile(filepath.Join(dir, ownerFile+tempSuffix), []byte("{"), 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, _ := begin(t)
			config := fakeConfig(filepath.Join(dir, "d"))
			prepare(t, config.Dir)
			_, err := os.Lstat(config.Dir)
			made := os.IsNotExist(err)
			d, err := Start(background, config)
			require.NoError(t, err)
			require.NoError(t, d.Close(background, false))

			opts := RemoveOptions{Dir: config.Dir, Name: config.Name}
			require.NoError(t, Remove(background, opts))
			if made {
				require.NoDirExists(t, config.Dir)
			} else {
				entries, err := os.ReadDir(config.Dir)
				require.NoError(t, err, "a folder that was given stays")
				assert.Empty(t, entries)
				require.NoError(t, os.Remove(config.Dir))
			}
			require.NoError(t, Remove(background, opts), "removing twice")
			require.NoError(t, os.RemoveAll(filepath.Join(dir, "d")))
		})
	}
}

func TestRemoveRefuses(t *testing.T) {
	_, config := begin(t)
	opts := RemoveOptions{Dir: config.Dir, Name: config.Name}
	d, err := Start(background, config)
	require.NoError(t, err)
	err = Remove(background, opts)
	require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
	assert.ErrorContains(t, err, "in use")
	require.NoError(t, d.Health())
	_, err = os.Lstat(filepath.Join(config.Dir, processFile))
	require.NoError(t, err)
	require.NoError(t, d.Close(background, true))

	err = Remove(background, RemoveOptions{Dir: config.Dir, Name: "other"})
	require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)

	foreign := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(foreign, "thesis.txt"), nil, 0o600))
	err = Remove(background, RemoveOptions{Dir: foreign, Name: "fake"})
	require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
	assert.Len(t, content(t, foreign), 2, "nothing is added or removed")

	require.ErrorIs(t, Remove(background, RemoveOptions{Dir: "x", Name: "fake"}), errdefs.ErrInvalidArgument)
	ctx, cancel := context.WithCancel(background)
	cancel()
	require.ErrorIs(t, Remove(ctx, opts), context.Canceled)
	require.DirExists(t, config.Dir)
}

func TestRemoveKeepsAllIfCleanFails(t *testing.T) {
	_, config := begin(t)
	d, err := Start(background, config)
	require.NoError(t, err)
	require.NoError(t, d.Close(background, true))
	opts := RemoveOptions{Dir: config.Dir, Name: config.Name, Clean: func(context.Context) error { return os.ErrDeadlineExceeded }}
	require.ErrorIs(t, Remove(background, opts), os.ErrDeadlineExceeded)
	require.FileExists(t, filepath.Join(config.Dir, logFile))
}

func TestRemoveSparesWhatIsMounted(t *testing.T) {
	needRoot(t)
	_, config := begin(t)
	d, err := Start(background, config)
	require.NoError(t, err)
	require.NoError(t, d.Close(background, false))

	home := filepath.Join(t.TempDir(), "home")
	require.NoError(t, os.Mkdir(home, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(home, "thesis.txt"), nil, 0o600))
	// A path that mountinfo escapes, mounts on one another and one in another.
	point := filepath.Join(config.Dir, "a b\\c\td")
	require.NoError(t, os.MkdirAll(point, 0o700))
	require.NoError(t, unix.Mount(home, point, "", unix.MS_BIND, ""))
	require.NoError(t, unix.Mount("tmpfs", point, "tmpfs", 0, ""))
	inner := filepath.Join(point, "inner")
	require.NoError(t, os.Mkdir(inner, 0o700))
	require.NoError(t, unix.Mount(home, inner, "", unix.MS_BIND, ""))
	busy, err := os.Open(filepath.Join(inner, "thesis.txt"))
	require.NoError(t, err)
	defer busy.Close()

	require.NoError(t, Remove(background, RemoveOptions{Dir: config.Dir, Name: config.Name}))
	require.NoDirExists(t, config.Dir)
	require.FileExists(t, filepath.Join(home, "thesis.txt"))
}

func TestRemoveAndStartTakeTurns(t *testing.T) {
	dir, config := begin(t)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				_ = Remove(background, RemoveOptions{Dir: config.Dir, Name: config.Name})
			}
		}
	}()
	for range 20 {
		d, err := Start(background, config)
		require.NoError(t, err)
		_, err = ask(background, filepath.Join(config.Dir, "sock"))
		require.NoError(t, err)
		require.NoError(t, d.Close(background, true))
	}
	close(stop)
	<-done
	require.NoError(t, Remove(background, RemoveOptions{Dir: config.Dir, Name: config.Name}))
	assert.Empty(t, running(t, dir))
}

func TestLockWaitsAndEndsWithContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := acquire(background, path, unix.LOCK_EX, os.O_CREATE)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(background, 20*time.Millisecond)
	defer cancel()
	_, err = acquire(ctx, path, unix.LOCK_SH, 0)
	require.ErrorIs(t, err, context.DeadlineExceeded)

	// A lock on a file that was replaced is worth nothing and is not returned.
	got := make(chan *lock)
	go func() {
		l, err := acquire(background, path, unix.LOCK_EX, os.O_CREATE)
		assert.NoError(t, err)
		got <- l
	}()
	require.NoError(t, os.Remove(path))
	l := <-got
	named, err := os.Stat(path)
	require.NoError(t, err)
	held, err := l.file.Stat()
	require.NoError(t, err)
	assert.True(t, os.SameFile(named, held))
	l.release()
	first.release()
}

func TestSharedLockCounts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := acquire(background, path, unix.LOCK_SH, os.O_CREATE)
	require.NoError(t, err)
	second, err := acquire(background, path, unix.LOCK_SH, os.O_CREATE)
	require.NoError(t, err)
	assert.False(t, first.exclusive())
	first.release()
	assert.True(t, second.exclusive())
	second.release()
}

func TestCheckSocketPath(t *testing.T) {
	long := make([]byte, maxSocketPath)
	for i := range long {
		long[i] = 'a'
	}
	require.NoError(t, CheckSocketPath("Dir", string(long)))
	err := CheckSocketPath("Dir", string(long)+"bc")
	require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
	assert.ErrorContains(t, err, "Dir is 2 bytes too long")
}

func TestFolderMadeByOneAndMarkedByAnotherIsRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	made, err := makeFolder(dir)
	require.NoError(t, err)
	require.True(t, made)
	// Another start comes between.
	f, err := claim(background, dir, "fake")
	require.NoError(t, err)
	require.False(t, f.owner.Made)
	f.unlock()

	f = &folder{dir: dir}
	require.NoError(t, f.enter(background, "fake", made))
	f.unlock()
	require.NoError(t, Remove(background, RemoveOptions{Dir: dir, Name: "fake"}))
	assert.NoDirExists(t, dir)
}
