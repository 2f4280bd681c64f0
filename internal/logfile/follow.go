package logfile

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"
)

// follower tells when it is worth looking at a run again.
type follower struct {
	watcher  *Watcher
	events   *subscription
	gone     chan struct{} // closed when the run has no writer
	presence *os.File
	waiting  sync.WaitGroup // for gone
	timer    *time.Timer    // nil: no end in time
	expired  bool
}

func newFollower(watcher *Watcher, dir, run string, until time.Time) (*follower, error) {
	events, err := watcher.subscribe(dir)
	if err != nil {
		return nil, err
	}
	f := &follower{watcher: watcher, events: events, gone: make(chan struct{})}
	f.presence, err = openPresence(dir, run)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrInvalid) {
		watcher.unsubscribe(events)
		return nil, err
	}
	if !until.IsZero() {
		f.timer = time.NewTimer(time.Until(until))
	}
	if err != nil {
		close(f.gone) // without its mark the run has no writer
		return f, nil
	}
	f.waiting.Go(func() {
		awaitGone(f.presence)
		close(f.gone)
	})
	return f, nil
}

// isOver says that what is there now is all.
func (f *follower) isOver() bool {
	select {
	case <-f.gone:
		return true
	default:
		return f.expired
	}
}

// wait returns nil when there may be something new, or nothing more ever.
func (f *follower) wait(ctx context.Context) error {
	var until <-chan time.Time
	if f.timer != nil {
		until = f.timer.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-until:
		f.expired = true
	case <-f.gone:
	case <-f.events.changed:
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
	f.waiting.Wait()
	f.watcher.unsubscribe(f.events)
}

// Await returns when the run has no writer, thus when its log is complete, or
// with the context's error. It returns at once for a run that is not known.
func Await(ctx context.Context, dir, run string) error {
	if err := CheckRun(run); err != nil {
		return err
	}
	presence, err := openPresence(dir, run)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	// Closing ends the read.
	stop := context.AfterFunc(ctx, func() { _ = presence.Close() })
	awaitGone(presence)
	if !stop() {
		return ctx.Err()
	}
	return presence.Close()
}
