package fake

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/resource"
)

// call is a call that has reached the backend. It is not kept beyond the call.
type call struct {
	p   *Provider
	op  Op
	at  target
	ctx context.Context
	// late are the faults that strike after the effect.
	late []*Injection
}

// reach lets a call pass on to the backend: it takes the time that the latency
// says, and has the faults strike that come before the effect. Where it returns
// an error the call must have no effect. The backend is not locked.
func (p *Provider) reach(ctx context.Context, op Op, at target) (call, error) {
	if !p.watchful() {
		return call{}, nil
	}
	c := call{p: p, op: op, at: at, ctx: ctx}
	if delay := p.backend.delay(op, at); delay > 0 {
		if err := p.sleep(ctx, delay); err != nil {
			return c, err
		}
	}
	for _, in := range []*injections{&p.faults, &p.backend.faults} {
		for _, i := range in.list(false) {
			if !i.strikes(op, at) {
				continue
			}
			if i.fault.site.after {
				c.late = append(c.late, i)
				continue
			}
			if err := c.suffer(i); err != nil {
				return c, err
			}
		}
	}
	return c, nil
}

// reachRun is open and reach for what is done with a run that a caller has its hands
// on. The backend is not locked.
func (p *Provider) reachRun(ctx context.Context, op Op, r *run) (call, error) {
	if err := p.open(ctx); err != nil || !p.watchful() {
		return call{}, err
	}
	p.backend.mu.Lock()
	at := r.instance.target()
	p.backend.mu.Unlock()
	return p.reach(ctx, op, at)
}

// done ends a call that reached the backend and had the result err: faults that
// strike after the effect strike now. Their error says that the effect is there.
func (c call) done(err error) error {
	if err != nil {
		return err
	}
	for _, i := range c.late {
		if err := c.suffer(i); err != nil {
			outcome := resource.Done
			if errors.Is(err, errdefs.ErrUnavailable) || errors.Is(err, resource.ErrClosed) {
				outcome = resource.OutcomeUnknown
			}
			return &resource.Error{Kind: resource.KindOf(err), Err: err, Outcome: outcome}
		}
	}
	return nil
}

func (c call) suffer(i *Injection) error {
	i.mu.Lock()
	i.hit()
	i.mu.Unlock()
	switch f := i.fault; f.action {
	case fails:
		var e *resource.Error
		if errors.As(f.err, &e) {
			return f.err
		}
		return &resource.Error{Kind: f.kind, Err: fmt.Errorf("injected fault: %w", f.err)}
	case delays:
		return c.p.sleep(c.ctx, f.delay)
	case hangs:
		select {
		case <-c.ctx.Done():
			return c.ctx.Err()
		case <-i.over:
		case <-c.p.over:
			return errClosed
		}
	case crashes:
		c.p.Crash()
		return errClosed
	}
	return nil
}

// sleep waits, unless the context ends first or the value is closed.
func (p *Provider) sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-p.over:
		return errClosed
	}
}
