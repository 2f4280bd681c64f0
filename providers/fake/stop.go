package fake

import (
	"context"
	"slices"
	"time"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// stopping are the Stops of one instance: one that waits for its grace to pass,
// and those that queue behind it. The earliest deadline counts for all of them.
// The backend's lock guards it.
type stopping struct {
	deadlines []*time.Time
	// sooner has room for one; it tells that there is another deadline.
	sooner chan struct{}
}

func (s *stopping) deadline() time.Time {
	earliest := *s.deadlines[0]
	for _, d := range s.deadlines {
		if d.Before(earliest) {
			earliest = *d
		}
	}
	return earliest
}

// hurry registers that a Stop wants the end no later than at the deadline, until
// the function that it returns is called. The backend is locked, then too.
func (i *instance) hurry(deadline time.Time) (done func()) {
	if i.stopping == nil {
		i.stopping = &stopping{sooner: make(chan struct{}, 1)}
	}
	s := i.stopping
	s.deadlines = append(s.deadlines, &deadline)
	select {
	case s.sooner <- struct{}{}:
	default:
	}
	return func() {
		s.deadlines = slices.DeleteFunc(s.deadlines, func(d *time.Time) bool { return d == &deadline })
		if len(s.deadlines) == 0 {
			i.stopping = nil
		}
	}
}

// hasten is hurry for a call that is about to queue behind another; nil where it
// is not.
func (h *handle) hasten(opts compute.StopOptions) (done func()) {
	b := h.p.backend
	b.mu.Lock()
	defer b.mu.Unlock()
	i, err := h.find()
	if err != nil || !i.turn.taken {
		return func() {}
	}
	end := i.hurry(i.deadline(opts))
	return func() {
		b.mu.Lock()
		end()
		b.mu.Unlock()
	}
}

// Stop asks the main process to end, waits for the grace, then kills it.
func (h *handle) Stop(ctx context.Context, opts compute.StopOptions) error {
	if err := h.p.open(ctx); err != nil {
		return h.fail(OpStop, err)
	}
	if err := opts.Validate().Err(); err != nil {
		return h.fail(OpStop, err)
	}
	defer h.hasten(opts)()
	return h.change(ctx, OpStop, compute.OpStop, opts.IfRevision, func(i *instance, _ compute.Transition) error {
		return h.p.stop(ctx, i, opts)
	})
}

// deadline is when a Stop forces that begins now.
func (i *instance) deadline(opts compute.StopOptions) time.Time {
	now := time.Now()
	switch {
	case opts.Force:
		return now
	case opts.Grace > 0:
		return now.Add(opts.Grace)
	case i.spec.StopGrace > 0:
		return now.Add(i.spec.StopGrace)
	}
	return now.Add(compute.DefaultGrace)
}

// stop ends the run under way. The backend is locked before and after.
func (p *Provider) stop(ctx context.Context, i *instance, opts compute.StopOptions) error {
	r := i.run
	if r == nil || r.exit != nil {
		i.settleStopped()
		return nil
	}
	// What is frozen could not answer, and what lies on disk has nobody to ask.
	suspended := i.state == compute.Suspended
	r.thaw(time.Now())
	i.state = compute.Stopping
	if suspended {
		i.state = compute.Suspended
	}
	if opts.Force || suspended {
		r.force("forced")
	} else {
		r.reason = "stopped"
		r.ask(i.stopSignal(opts))
	}
	if r.exit != nil {
		return nil
	}
	defer i.hurry(i.deadline(opts))()
	s, ended := i.stopping, r.ended()
	var err error
	for r.exit == nil && err == nil {
		err = p.waitStop(ctx, s, ended)
		if r.exit == nil && err == nil && !time.Now().Before(s.deadline()) {
			r.force("forced")
			err = p.await(ctx, ended)
		}
	}
	if r.exit != nil {
		return nil
	}
	i.state = compute.Running
	if suspended {
		i.state = compute.Suspended
	}
	return err
}

// waitStop waits until the run has ended, the deadline is reached or is another.
// The backend is locked before and after.
func (p *Provider) waitStop(ctx context.Context, s *stopping, ended <-chan struct{}) error {
	left := time.Until(s.deadline())
	p.backend.mu.Unlock()
	defer p.backend.mu.Lock()
	if left <= 0 {
		return nil
	}
	t := time.NewTimer(left)
	defer t.Stop()
	select {
	case <-ended:
	case <-t.C:
	case <-s.sooner:
	case <-ctx.Done():
		return ctx.Err()
	case <-p.over:
		return errClosed
	}
	return nil
}

// stopSignal is the number of the signal that asks for the end.
func (i *instance) stopSignal(opts compute.StopOptions) int {
	for _, name := range []string{opts.Signal, i.spec.StopSignal, i.image.setup().StopSignal} {
		if name == "" {
			continue
		}
		if number, err := compute.ParseSignal(name); err == nil {
			return number
		}
	}
	return sigTerm
}

// ask sends the stop signal. An idle main process ends by it: with 0 where it is
// one that means nothing unless it is handled, such as SIGWINCH.
func (r *run) ask(signal int) {
	if r.main == nil && harmless(signal) {
		r.conclude(compute.Exit{})
		return
	}
	r.interrupt(signal)
}

// settleStopped makes an instance without a run Stopped, of which the backend
// could not say what it does. The backend is locked.
func (i *instance) settleStopped() {
	i.state = compute.Stopped
	i.space.emit(i, resource.EventChanged, resource.ReasonExit)
}
