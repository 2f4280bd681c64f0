package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/containerd/errdefs"
)

const (
	// A daemon that has run for settled begins anew with the count of failures.
	settled      = 30 * time.Second
	firstBackoff = 200 * time.Millisecond
	maxBackoff   = 10 * time.Second
)

// errStopped says that the daemon was shut down on purpose.
var errStopped = errors.New("stopped")

// supervise restarts the daemon each time it exits, until ctx ends, somebody
// shuts the daemon down, or it has failed too often in a row.
func (d *Daemon) supervise(ctx context.Context) {
	failures, since := 0, time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.proc.ended:
		}
		if time.Since(since) > settled {
			failures = 0
		}
		cause := d.lost()
		for {
			if failures++; failures > max(0, d.config.Restarts) {
				d.setStatus(func(s *Status) {
					s.State, s.PID = Failed, 0
					s.Err = fmt.Errorf("given up after %d restarts: %w", failures-1, cause)
				})
				return
			}
			d.setStatus(func(s *Status) { s.State, s.PID, s.Err = Restarting, 0, cause })
			p, err := d.restart(ctx, backoff(failures))
			if ctx.Err() != nil && p == nil {
				return
			}
			if errors.Is(err, errStopped) {
				d.setStatus(func(s *Status) { *s = Status{State: Stopped, Restarts: s.Restarts} })
				return
			}
			if err == nil {
				d.proc.release()
				d.proc, since = p, time.Now()
				break
			}
			cause = err
		}
		d.setStatus(func(s *Status) {
			s.State, s.PID, s.Adopted = Running, d.proc.id.PID, d.proc.child == nil
			s.Restarts++
			s.Err = cause
		})
	}
}

// lost is why the daemon that ran is gone.
func (d *Daemon) lost() error {
	err := fmt.Errorf("process %d exited: %s: %w", d.proc.id.PID, d.proc.how(), errdefs.ErrUnavailable)
	return withLog(err, d.logPath(), d.proc.logStart)
}

// backoff is the pause before the n-th attempt in a row. The first has none: a
// daemon that was killed once is back at once.
func backoff(n int) time.Duration {
	if n <= 1 {
		return 0
	}
	pause := firstBackoff
	for range n - 2 {
		pause = min(2*pause, maxBackoff)
	}
	return pause
}

// restart brings the daemon back after a pause. Of several users of the folder
// the first to lock it starts the daemon, the others adopt it.
func (d *Daemon) restart(ctx context.Context, pause time.Duration) (*process, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(pause):
	}
	f, err := open(ctx, d.config.Dir, d.config.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errStopped
	}
	if err != nil {
		return nil, err
	}
	defer f.unlock()
	if _, err := os.Lstat(f.path(processFile)); errors.Is(err, fs.ErrNotExist) {
		return nil, errStopped
	}
	p, _, err := f.bring(ctx, d.config)
	return p, err
}
