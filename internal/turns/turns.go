// Package turns lets changes of one resource queue within a process, and a change
// that waits for something be told to wait no longer.
package turns

import (
	"context"
	"sync"
	"time"
)

// Queue lets changes of one resource queue, by the resource's ID. A resource that
// nobody changes takes no memory. The zero value is ready; its methods may be
// called concurrently.
type Queue struct {
	mu   sync.Mutex
	byID map[string]*turn
}

type turn struct {
	users int
	token chan struct{} // holds one value while the turn is taken
	// patience is that of the holder that waits; nil where it does not.
	patience *Patience
}

// Patience is how long the holder of a turn waits before it goes on.
type Patience struct {
	queue *Queue
	until time.Time
	// shortened is sent to when until has become earlier.
	shortened chan struct{}
}

// Shortened is sent to when the wait shall end earlier: Remaining tells when.
func (p *Patience) Shortened() <-chan struct{} { return p.shortened }

// Remaining is how long the wait may still last.
func (p *Patience) Remaining() time.Duration {
	p.queue.mu.Lock()
	defer p.queue.mu.Unlock()
	return time.Until(p.until)
}

// Take waits for the resource's turn. The function that it returns passes the
// turn on. The error is the context's.
func (t *Queue) Take(ctx context.Context, id string) (pass func(), err error) {
	t.mu.Lock()
	if t.byID == nil {
		t.byID = make(map[string]*turn)
	}
	mine := t.byID[id]
	if mine == nil {
		mine = &turn{token: make(chan struct{}, 1)}
		t.byID[id] = mine
	}
	mine.users++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if mine.users--; mine.users == 0 {
			delete(t.byID, id)
		}
	}
	select {
	case mine.token <- struct{}{}:
		return func() { <-mine.token; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

// Wait announces that the holder of the turn waits until a time that others may
// bring forward. The function that it returns takes that back.
func (t *Queue) Wait(id string, until time.Time) (*Patience, func()) {
	p := &Patience{queue: t, until: until, shortened: make(chan struct{}, 1)}
	t.mu.Lock()
	defer t.mu.Unlock()
	mine := t.byID[id]
	mine.patience = p
	return p, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		mine.patience = nil
	}
}

// Waited reports whether the holder of a resource's turn waits.
func (t *Queue) Waited(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	mine := t.byID[id]
	return mine != nil && mine.patience != nil
}

// Hurry brings forward the end of a wait under way, and reports whether it did.
func (t *Queue) Hurry(id string, until time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	mine := t.byID[id]
	if mine == nil || mine.patience == nil || !until.Before(mine.patience.until) {
		return false
	}
	mine.patience.until = until
	select {
	case mine.patience.shortened <- struct{}{}:
	default:
	}
	return true
}

// Idle reports whether nobody has or wants a turn.
func (t *Queue) Idle() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byID) == 0
}

// Busy reports whether somebody has or wants the turn of a resource.
func (t *Queue) Busy(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byID[id] != nil
}
