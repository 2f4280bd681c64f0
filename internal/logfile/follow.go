package logfile

import (
	"context"
	"os"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// follower tells when it is worth looking at a run again.
type follower struct {
	watcher  *fsnotify.Watcher
	gone     chan struct{} // closed when the run has no writer
	until    <-chan time.Time
	timer    *time.Timer
	presence *os.File
	ended    sync.WaitGroup
}

func newFollower(dir, run string, until time.Time) (*follower, error) {
	f := &follower{gone: make(chan struct{})}
	var err error
	if f.watcher, err = fsnotify.NewWatcher(); err != nil {
		return nil, err
	}
	if err := f.watcher.Add(dir); err != nil {
		_ = f.watcher.Close()
		return nil, err
	}
	if !until.IsZero() {
		f.timer = time.NewTimer(time.Until(until))
		f.until = f.timer.C
	}
	// Without the mark there is no writer that could be waited for.
	if f.presence, err = openPresence(dir, run); err != nil {
		close(f.gone)
		return f, nil
	}
	f.ended.Go(func() {
		awaitGone(f.presence)
		close(f.gone)
	})
	return f, nil
}

func (f *follower) isGone() bool {
	select {
	case <-f.gone:
		return true
	default:
		return false
	}
}

// wait returns nil when there may be something new, or nothing more ever.
func (f *follower) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-f.gone:
	case <-f.until:
		return errBreak
	case _, ok := <-f.watcher.Events:
		if !ok {
			return os.ErrClosed
		}
	case err := <-f.watcher.Errors:
		if err != nil && err != fsnotify.ErrEventOverflow {
			return err
		}
	}
	return nil
}

func (f *follower) close() {
	if f.timer != nil {
		f.timer.Stop()
	}
	if f.presence != nil {
		_ = f.presence.Close()
	}
	f.ended.Wait()
	_ = f.watcher.Close()
}
