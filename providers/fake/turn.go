package fake

import "context"

// turn is the right to change one resource: changes of it queue, in the order in
// which they came. The backend's lock guards the fields; nothing is allocated
// where nobody waits.
type turn struct {
	taken   bool
	waiting []chan struct{}
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
	mine := make(chan struct{})
	t.waiting = append(t.waiting, mine)
	b.mu.Unlock()
	var err error
	select {
	case <-mine:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-p.over:
		err = errClosed
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, other := range t.waiting {
		if other == mine {
			t.waiting = append(t.waiting[:i], t.waiting[i+1:]...)
			return err
		}
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
	if len(t.waiting) == 0 {
		t.taken = false
		return
	}
	next := t.waiting[0]
	t.waiting = t.waiting[1:]
	close(next)
}
