//go:build unix && !solaris && !aix

package filelock

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Acquire makes the file where it is absent, and waits for the lock. Another
// process holds one for the time of a few calls at most, so asking again is
// simple and cheap, and ends with the context.
func Acquire(ctx context.Context, path string, mode Mode) (*Lock, error) {
	return acquire(ctx, path, mode, 20*time.Millisecond)
}

// Await is Acquire of an exclusive lock whose holder may have it for long: it is
// asked for a few times a second.
func Await(ctx context.Context, path string) (*Lock, error) {
	return acquire(ctx, path, Exclusive, 200*time.Millisecond)
}

func acquire(ctx context.Context, path string, mode Mode, longest time.Duration) (*Lock, error) {
	how := unix.LOCK_EX
	if mode == Shared {
		how = unix.LOCK_SH
	}
	for pause := time.Millisecond; ; pause = min(2*pause, longest) {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if err == nil && isAt(f, path) {
			return &Lock{f}, nil
		}
		_ = f.Close()
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, &fs.PathError{Op: "flock", Path: path, Err: err}
		}
		if err == nil {
			continue // it was removed before the lock was ours
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// isAt reports whether the path still leads to the file.
func isAt(f *os.File, path string) bool {
	have, err := f.Stat()
	if err != nil {
		return false
	}
	now, err := os.Lstat(path)
	return err == nil && os.SameFile(have, now)
}

// Held reports whether somebody holds an exclusive lock on a file. One that is gone is
// fs.ErrNotExist.
func Held(path string) (bool, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return false, err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
		there := isAt(f, path)
		_ = f.Close()
		switch {
		case errors.Is(err, unix.EWOULDBLOCK):
			return true, nil
		case err != nil || there:
			return false, err
		}
		// It was removed before this lock, and another may be in its place.
	}
}
