package fake

import "context"

// turn is the right to change one resource: changes of it queue, in the order in
// which they came. The backend's lock guards the fields; nothing is allocated
// where nobody waits.
type turn struct {
	taken bool
	first *waiter
}

// waiter is one that waits for its turn, which is handed over by closing mine.
type waiter struct {
	mine chan struct{}
	next *waiter
}

// place finds where in the queue a waiter is; past its end where it is not.
func (t *turn) place(w *waiter) **waiter {
	at := &t.first
	for *at != nil && *at != w {
		at = &(*at).next
	}
	return at
}

// take waits for the turn, until the context is done or the value closed. The
// backend is not locked.
func (p *Provider) take(ctx context.Context, t *turn) error {
	b := p.backend
	b.mu.Lock()
	if !t.taken {
		t.taken = true
		b.mu.Unlock()
		return nil
	}
	w := &waiter{mine: make(chan struct{})}
	*t.place(nil) = w
	b.mu.Unlock()
	var err error
	select {
	case <-w.mine:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-p.over:
		err = errClosed
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if at := t.place(w); *at != nil {
		*at = w.next
		return err
	}
	// It was handed over in the same moment: pass it on.
	t.pass()
	return err
}

// leave gives the turn to the next one that waits. The backend is not locked.
func (p *Provider) leave(t *turn) {
	p.backend.mu.Lock()
	t.pass()
	p.backend.mu.Unlock()
}

// pass is leave where the backend is locked.
func (t *turn) pass() {
	next := t.first
	if next == nil {
		t.taken = false
		return
	}
	t.first = next.next
	close(next.mine)
}
