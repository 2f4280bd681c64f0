package containerd

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

type lockMode int

const (
	shared    lockMode = unix.LOCK_SH
	exclusive lockMode = unix.LOCK_EX
)

// fileLock is a lock on a file that dies with the process.
type fileLock struct{ file *os.File }

// lockFile makes the file where it is absent, and waits for the lock. Another
// process holds one for the time of a few calls at most, so asking again is
// simple and cheap, and ends with the context.
func lockFile(ctx context.Context, path string, mode lockMode) (*fileLock, error) {
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(f.Fd()), int(mode)|unix.LOCK_NB)
		if err == nil && isAt(f, path) {
			return &fileLock{f}, nil
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

// isLocked reports whether somebody holds an exclusive lock on a file.
func isLocked(path string) (bool, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}

// release gives the lock back; the file stays.
func (l *fileLock) release() {
	if l != nil {
		_ = l.file.Close()
	}
}

// remove removes the file and gives the lock back.
func (l *fileLock) remove() {
	if l != nil {
		_ = os.Remove(l.file.Name())
		_ = l.file.Close()
	}
}
