//go:build linux

package main

import (
	"errors"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/univirt/univirt/internal/logfile"
)

// The file descriptors that containerd's shim passes.
const (
	stdoutFD = 3
	stderrFD = 4
	readyFD  = 5
)

// runLog stores both outputs of an instance until both have ended.
func runLog(args map[string]string) error {
	// The end of the pipes is the only end: the shim closes them before it sends
	// SIGTERM, and a host that goes down signals this process and the instance
	// alike, whose last words are then still to come.
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	maxSize, err1 := parseInt(args["max-size"])
	maxFiles, err2 := parseInt(args["max-files"])
	if err1 != nil || err2 != nil || !filepath.IsAbs(args["dir"]) {
		return errUsage
	}
	// The shim's folder must not stay in use because of this process.
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	for _, fd := range [...]int{stdoutFD, stderrFD, readyFD} {
		unix.CloseOnExec(fd)
	}
	w, err := logfile.Create(args["dir"], args["run"], logfile.WriterOptions{MaxSize: maxSize, MaxFiles: int(maxFiles)})
	if err != nil {
		return err
	}
	sources := []unix.PollFd{
		{Fd: stdoutFD, Events: unix.POLLIN},
		{Fd: stderrFD, Events: unix.POLLIN},
	}
	if args["terminal"] == "true" {
		// A terminal has one output. The shim never closes the other pipe, so its
		// end would not come before the shim's.
		_ = unix.Close(stderrFD)
		sources = sources[:1]
	}
	// A byte and then the end: for the shim's binary protocol the end alone means
	// ready, for binary-v2 it means a crash.
	_, _ = unix.Write(readyFD, []byte{0})
	_ = unix.Close(readyFD)
	return errors.Join(copyStreams(w, sources), w.Close())
}

// copyStreams reads both pipes as fast as the file system takes what they
// deliver. That a disk is full does not stop it: the instance must not stall.
func copyStreams(w *logfile.Writer, sources []unix.PollFd) error {
	buf := make([]byte, 64<<10) // as much as a pipe holds
	for open := len(sources); open > 0; {
		if _, err := unix.Poll(sources, -1); err != nil {
			if errors.Is(err, unix.EINTR) {
				continue
			}
			return err
		}
		for i := range sources {
			source := &sources[i]
			if source.Fd < 0 || source.Revents == 0 {
				continue
			}
			n, err := unix.Read(int(source.Fd), buf)
			if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
				continue
			}
			if n > 0 && err == nil {
				_ = w.Write(stream(source.Fd), buf[:n]) // the writer keeps count of what it cannot store
				continue
			}
			_ = unix.Close(int(source.Fd))
			source.Fd = -1 // poll passes over it
			open--
		}
	}
	return nil
}

func stream(fd int32) logfile.Stream {
	if fd == stderrFD {
		return logfile.Stderr
	}
	return logfile.Stdout
}

func parseInt(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, errUsage
	}
	return n, nil
}
