package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Remove shuts down the daemon of a folder and removes all that it holds: what
// is mounted below it, its files, and the folder itself if Start made it. It
// works after a crash as well as after Close, and may be repeated. The error is
// FailedPrecondition if a value uses the folder, in whatever process, or if the
// folder was not made by this package, and then nothing is changed. A folder
// that does not exist is nil, one that is empty stays.
func Remove(ctx context.Context, opts RemoveOptions) error {
	if err := checkPath("Dir", opts.Dir); err != nil {
		return fmt.Errorf("remove daemon: %w", err)
	}
	if opts.Grace == 0 {
		opts.Grace = defaultGrace
	}
	if err := remove(ctx, opts); err != nil {
		return fmt.Errorf("remove %s in %s: %w", opts.Name, opts.Dir, err)
	}
	return nil
}

func remove(ctx context.Context, opts RemoveOptions) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := os.Lstat(opts.Dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	f, err := open(ctx, opts.Dir, opts.Name)
	if errors.Is(err, fs.ErrNotExist) {
		// A start that was killed before it marked the folder left it as good as
		// empty; any other folder without the mark is refused here.
		f, err = claim(ctx, opts.Dir, opts.Name)
	}
	if err != nil {
		return err
	}
	defer f.unlock()
	use, err := unused(opts.Dir)
	if err != nil {
		return err
	}
	defer use.release()
	if err := f.shutDown(ctx, opts.Grace); err != nil {
		return err
	}
	if opts.Clean != nil {
		if err := opts.Clean(ctx); err != nil {
			return err
		}
	}
	if err := unmountBelow(opts.Dir); err != nil {
		return err
	}
	return f.empty()
}

// unused takes the lock that whoever uses the folder has a share of.
func unused(dir string) (*lock, error) {
	use, err := try(filepath.Join(dir, useFile), unix.LOCK_EX, os.O_CREATE)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("the folder is in use: %w", errdefs.ErrFailedPrecondition)
	}
	return use, err
}

// Unused is FailedPrecondition if a value uses the folder, in whatever process.
func Unused(dir string) error {
	if _, err := os.Lstat(filepath.Join(dir, useFile)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	use, err := unused(dir)
	if err != nil {
		return err
	}
	use.release()
	return nil
}

// empty removes the content of the folder, the mark and the lock last: if it is
// interrupted it can be repeated.
func (f *folder) empty() error {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == ownerFile || e.Name() == startFile {
			continue
		}
		if err := os.RemoveAll(f.path(e.Name())); err != nil {
			return err
		}
	}
	for _, name := range []string{ownerFile, startFile} {
		if err := os.Remove(f.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if !f.owner.Made {
		return nil
	}
	// Somebody who waits for the lock may have made it anew.
	if err := os.Remove(f.dir); err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
