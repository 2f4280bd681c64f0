package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// EndAll ends all processes that belong, and returns when they are gone. Each gets
// some time to end by itself, and is killed then. One that is started by another
// meanwhile is found by the next round.
func EndAll(ctx context.Context, patience time.Duration, belongs func(pid int) bool) error {
	for range 10 {
		pids, err := Processes(belongs)
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			if err := end(ctx, pid, patience, belongs); err != nil {
				return fmt.Errorf("process %d: %w", pid, err)
			}
		}
	}
	return fmt.Errorf("new ones keep coming: %w", errdefs.ErrUnavailable)
}

// Processes lists the processes that belong.
func Processes(belongs func(pid int) bool) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err == nil && belongs(pid) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// end looks again once it holds a pidfd, since the pid may have passed on.
func end(ctx context.Context, pid int, patience time.Duration, belongs func(pid int) bool) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if !belongs(pid) {
		return nil
	}
	if gone, err := awaitEnd(ctx, fd, patience); gone || err != nil {
		return err
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	// A killed process ends at once unless it hangs in the kernel.
	_, err = awaitEnd(ctx, fd, math.MaxInt64)
	return err
}

// awaitEnd waits for the end of a process, at most so long, and reports whether it
// has ended.
func awaitEnd(ctx context.Context, pidfd int, most time.Duration) (bool, error) {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	const slice = 100 * time.Millisecond // after which the context is looked at
	for ; most > 0; most -= slice {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if n, err := unix.Poll(fds, int(min(most, slice).Milliseconds())); n > 0 || err != nil && !errors.Is(err, unix.EINTR) {
			return n > 0, err
		}
	}
	return false, nil
}

// DropAfterBoot removes the folder volatile if the system was booted since it was
// last called with the same stamp, a file in which the boot is noted. Daemons
// expect their run-time state to be gone then, and what it says of processes and
// mounts is no longer true.
func DropAfterBoot(stamp, volatile string) error {
	now, err := bootID()
	if err != nil {
		return err
	}
	last, err := os.ReadFile(stamp)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if string(bytes.TrimSpace(last)) == now {
		return nil
	}
	if err := os.RemoveAll(volatile); err != nil {
		return err
	}
	return os.WriteFile(stamp, []byte(now), 0o600)
}
