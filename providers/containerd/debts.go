package containerd

import (
	"context"
	"sync"
	"time"

	"github.com/containerd/errdefs"
)

// debts are clean-ups that could not be made because the daemon was lost. One
// goroutine makes them when the daemon is back, or Close does; what fails then too
// is left to Sweep. It runs only while there are any.
type debts struct {
	mu   sync.Mutex
	todo []debt
	// paying says that the goroutine runs.
	paying bool
	over   sync.WaitGroup
}

// debt makes a clean-up. It finds out for itself whether there is something to do
// still.
type debt func(context.Context) error

const (
	// mostDebts bounds what is remembered. What does not fit is left to Sweep.
	mostDebts = 1000
	// debtPause is how long the daemon is left alone after it was found away, the
	// first time and at most.
	debtPause    = 50 * time.Millisecond
	mostDebtWait = 5 * time.Second
)

// owe remembers a clean-up.
func (p *Provider) owe(clean debt) {
	d := &p.debts
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.todo) == mostDebts {
		return
	}
	d.todo = append(d.todo, clean)
	if !d.paying && p.alive.Err() == nil {
		d.paying = true
		d.over.Go(func() { d.pay(p.dress(p.alive)) })
	}
}

// pay makes the clean-ups until there are none left or the context ends.
func (d *debts) pay(ctx context.Context) {
	for pause := debtPause; ; {
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		switch {
		case d.done(ctx):
			return
		case d.once(ctx):
			pause = debtPause
		default:
			pause = min(2*pause, mostDebtWait)
		}
	}
}

// done reports whether there is nothing to pay, or nobody to do it any more.
func (d *debts) done(ctx context.Context) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.paying = len(d.todo) > 0 && ctx.Err() == nil
	return !d.paying
}

// once tries each clean-up, and reports whether the daemon was there for all.
func (d *debts) once(ctx context.Context) bool {
	d.mu.Lock()
	todo := d.todo
	d.todo = nil
	d.mu.Unlock()
	for n, clean := range todo {
		if err := translate(ctx, clean(ctx)); ctx.Err() != nil || errdefs.IsUnavailable(err) {
			d.mu.Lock()
			d.todo = append(todo[n:len(todo):len(todo)], d.todo...)
			d.mu.Unlock()
			return false
		}
	}
	return true
}

// settle makes the clean-ups a last time.
func (d *debts) settle(ctx context.Context) {
	d.over.Wait()
	d.once(ctx)
}
