package providertest

import (
	"context"
	"errors"
	"sync"
)

// Line is what a provider value's calls go through to its backend, so that a
// [Harness] can sever it. The zero value is whole. Its methods may be called
// concurrently.
type Line struct {
	mu     sync.Mutex
	outage *Outage // nil while the line is whole
	// calls counts those since the line was severed.
	calls int
	// struck is closed by the first call that is lost, and back by the end of the outage.
	struck, back chan struct{}
}

// Sever begins an outage, as [Harness].Sever wants it. There is one at a time.
func (l *Line) Sever(o Outage) (struck <-chan struct{}, mend func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	began, back := make(chan struct{}), make(chan struct{})
	l.outage, l.calls, l.struck, l.back = &o, 0, began, back
	return began, sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.outage = nil
		close(back)
	})
}

// ErrLost is the error of a call that got no answer.
var ErrLost = errors.New("the line is severed")

// Do makes a call, and returns nil where it was answered. Otherwise it is ErrLost or the
// context's error, and the call may have been made all the same.
func (l *Line) Do(ctx context.Context, call func()) error {
	o, first, back := l.next()
	switch {
	case o == nil:
		call()
		return nil
	case first && o.Taken:
		call()
	}
	if !o.Hangs {
		return ErrLost
	}
	select {
	case <-back:
	case <-ctx.Done():
		return ctx.Err()
	}
	if !first || !o.Taken {
		call()
	}
	return nil
}

// next counts a call, and returns the outage that it is lost in, whether it is the first
// one, and what ends the outage.
func (l *Line) next() (o *Outage, first bool, back <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.outage == nil {
		return nil, false, nil
	}
	n := l.calls
	l.calls++
	if n < l.outage.Call {
		return nil, false, nil
	}
	if first = n == l.outage.Call; first {
		close(l.struck)
	}
	return l.outage, first, l.back
}
