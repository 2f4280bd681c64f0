package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lock is an flock on a file. The kernel drops it when its owner dies.
type lock struct {
	file *os.File
}

// acquire takes the lock how (LOCK_SH or LOCK_EX) on path; flags may have
// O_CREATE. It waits by trying again, since a blocked flock could not be
// interrupted by ctx.
func acquire(ctx context.Context, path string, how, flags int) (*lock, error) {
	wait := time.Millisecond
	for {
		l, err := try(path, how, flags)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for lock %s: %w", path, context.Cause(ctx))
		case <-time.After(wait):
		}
		wait = min(2*wait, 50*time.Millisecond)
	}
}

// try is acquire without the wait: it answers EWOULDBLOCK if the lock is held,
// or if the file was removed while it was being locked.
func try(path string, how, flags int) (*lock, error) {
	file, err := os.OpenFile(path, os.O_RDWR|flags|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(file, how|unix.LOCK_NB); err != nil {
		file.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	l := &lock{file: file}
	// A lock on a file that is no longer at its path excludes nobody.
	held, err := file.Stat()
	if err != nil {
		l.release()
		return nil, err
	}
	named, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(held, named) {
		l.release()
		return nil, fmt.Errorf("lock %s: replaced: %w", path, unix.EWOULDBLOCK)
	}
	if err != nil {
		l.release()
		return nil, err
	}
	return l, nil
}

// exclusive turns a shared lock into an exclusive one if nobody else shares it.
// If it cannot, the lock may be lost: it is for a user that is about to leave.
func (l *lock) exclusive() bool {
	return flock(l.file, unix.LOCK_EX|unix.LOCK_NB) == nil
}

// release unlocks before it closes, because a child between fork and exec may
// hold a copy of the descriptor, which alone would keep the lock.
func (l *lock) release() {
	_ = flock(l.file, unix.LOCK_UN)
	l.file.Close()
}

func flock(file *os.File, how int) error {
	for {
		err := unix.Flock(int(file.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
