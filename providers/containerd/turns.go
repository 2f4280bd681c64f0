package containerd

import (
	"context"
	"sync"
	"time"
)

// turns lets changes of one instance queue within this process. An instance that
// nobody changes takes no memory.
type turns struct {
	mu   sync.Mutex
	byID map[string]*turn
}

type turn struct {
	users int
	token chan struct{} // holds one value while the turn is taken
	// patience is the Stop that waits for the end of a run; nil where none does.
	patience *patience
}

// patience is how long a Stop waits before it forces.
type patience struct {
	until time.Time
	// shortened is sent to when until has become earlier.
	shortened chan struct{}
}

// take waits for the instance's turn. The function that it returns passes the
// turn on.
func (t *turns) take(ctx context.Context, id string) (pass func(), err error) {
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
		return nil, ended(ctx)
	}
}

// wait announces that the holder of the turn waits until a time that others may
// bring forward. The function that it returns takes that back.
func (t *turns) wait(id string, until time.Time) (*patience, func()) {
	p := &patience{until: until, shortened: make(chan struct{}, 1)}
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

// waited reports whether somebody waits for the end of a run.
func (t *turns) waited(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	mine := t.byID[id]
	return mine != nil && mine.patience != nil
}

// hurry brings forward the end of a wait under way, and reports whether it did.
func (t *turns) hurry(id string, until time.Time) bool {
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

// remaining is how long the wait may still last.
func (t *turns) remaining(p *patience) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Until(p.until)
}
