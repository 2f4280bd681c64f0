//go:build linux && (amd64 || arm64)

package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"unsafe"

	"github.com/univirt/univirt/providers/providertest/guest"
)

// notify takes over all signals that a program can be sent on purpose. URG is
// not among them: Go's scheduler sends it to itself all the time.
func notify() <-chan guest.Signal {
	raw := make(chan os.Signal, 64)
	signal.Notify(raw,
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1,
		syscall.SIGUSR2, syscall.SIGPIPE, syscall.SIGALRM, syscall.SIGTERM,
		syscall.SIGCONT, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU,
		syscall.SIGXCPU, syscall.SIGXFSZ, syscall.SIGVTALRM, syscall.SIGWINCH,
		syscall.SIGIO, syscall.SIGPWR)
	named := make(chan guest.Signal, cap(raw))
	go func() {
		for sig := range raw {
			if name, ok := guest.SignalByNumber(int(sig.(syscall.Signal))); ok {
				named <- name
			}
		}
	}()
	return named
}

// raise restores the kernel's own handling of the signal, which Go's runtime has
// replaced, and sends it to this very thread: delivery is over when the call
// returns. It returns if the process is the first of its PID namespace, which no
// signal of its own can end.
func raise(sig guest.Signal) error {
	number := uintptr(sig.Number())
	// No core file, whatever the limit of the container says.
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("disable core files: %w", err)
	}
	if sig != guest.KILL && sig != "STOP" {
		// The zero value of the kernel's struct sigaction is SIG_DFL.
		var action struct{ handler, flags, restorer, mask uint64 }
		_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, number,
			uintptr(unsafe.Pointer(&action)), 0, unsafe.Sizeof(action.mask), 0, 0)
		if errno != 0 {
			return fmt.Errorf("reset %s: %w", sig, errno)
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_, _, errno := syscall.RawSyscall(syscall.SYS_TGKILL,
		uintptr(os.Getpid()), uintptr(syscall.Gettid()), number)
	if errno != 0 {
		return fmt.Errorf("send %s: %w", sig, errno)
	}
	return nil
}
