package pidfd

import (
	"errors"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Open returns a file that stands for a process. Is looks whether that is the one
// that is meant, once no other can take its number. A process that has ended, or is
// another, is fs.ErrNotExist.
func Open(pid int, is func(pid int) bool) (*os.File, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return nil, fs.ErrNotExist
	}
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	if !is(pid) || ended(fd) {
		_ = unix.Close(fd)
		return nil, fs.ErrNotExist
	}
	return os.NewFile(uintptr(fd), "pidfd"), nil
}

// Find looks for the one process that is meant among all; 0 where there is none, or
// more than one.
func Find(is func(pid int) bool) (found int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || !is(pid) {
			continue
		}
		if found != 0 {
			return 0
		}
		found = pid
	}
	return found
}

// Wait returns when the process has ended, with true, or the file was closed. It
// holds no thread.
func Wait(f *os.File) (over bool) {
	raw, err := f.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Read(func(fd uintptr) bool {
		over = ended(int(fd))
		return over
	})
	return err == nil && over
}

func ended(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if !errors.Is(err, unix.EINTR) {
			return n > 0
		}
	}
}
