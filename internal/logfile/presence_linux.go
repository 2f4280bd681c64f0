package logfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// takePresence makes the run's FIFO, holds it open and locks it. The lock keeps
// a second writer out; the open end is what readers see.
//
// A FIFO and not a locked file alone: the kernel wakes everyone who waits for
// its end, and it does so after the end, so no reader has to ask again. Its
// modification time is also the only mark of when the run began.
func takePresence(dir, run string) (*os.File, error) {
	path := filepath.Join(dir, writerName(run))
	if err := unix.Mkfifo(path, 0o600); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, &fs.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	f, err := openFIFO(path, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("logfile: %s: %w", path, ErrWriting)
		}
		return nil, &fs.PathError{Op: "flock", Path: path, Err: err}
	}
	// One page is enough for a pipe that carries nothing; the rest counts
	// against the user's limit.
	_, _ = unix.FcntlInt(f.Fd(), unix.F_SETPIPE_SZ, os.Getpagesize())
	return f, nil
}

// openPresence opens the run's FIFO for reading: a Read of it lasts as long as
// the writer does and then ends with io.EOF.
func openPresence(dir, run string) (*os.File, error) {
	return openFIFO(filepath.Join(dir, writerName(run)), os.O_RDONLY)
}

// openFIFO returns an error that is [fs.ErrInvalid] for whatever is no FIFO.
func openFIFO(path string, mode int) (*os.File, error) {
	f, err := os.OpenFile(path, mode|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrInvalid}
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Mode().Type() != fs.ModeNamedPipe {
		err = &fs.PathError{Op: "open", Path: path, Err: fs.ErrInvalid}
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// writing asks without waiting whether the FIFO has a writer.
func writing(dir, run string) (bool, error) {
	f, err := openPresence(dir, run)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	raw, err := f.SyscallConn()
	if err != nil {
		return false, err
	}
	var readErr error
	var n int
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, readErr = unix.Read(int(fd), b[:])
	})
	if err != nil {
		return false, err
	}
	switch {
	case errors.Is(readErr, unix.EAGAIN), n > 0:
		return true, nil
	case readErr != nil:
		return false, readErr
	}
	return false, nil
}

// awaitGone returns when the FIFO that f reads has no writer, or f was closed.
func awaitGone(f io.Reader) {
	var b [64]byte
	for {
		if _, err := f.Read(b[:]); err != nil {
			return
		}
	}
}
