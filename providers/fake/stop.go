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
	wishes []*wish
	// sooner has room for one; it tells that there is another deadline.
	sooner chan struct{}
}

// wish is what one Stop wants: that the run is asked to end, and ended by force at
// the deadline.
type wish struct {
	signal   int
	deadline time.Time
}

func (s *stopping) deadline() time.Time {
	earliest := s.wishes[0].deadline
	for _, w := range s.wishes {
		if w.deadline.Before(earliest) {
			earliest = w.deadline
		}
	}
	return earliest
}

// wishOf is what a Stop wants that begins now. The backend is locked.
func (i *instance) wishOf(opts compute.StopOptions) *wish {
	w := &wish{signal: i.stopSignal(opts), deadline: time.Now()}
	switch {
	case opts.Force:
		w.signal = sigKill
	case opts.Grace > 0:
		w.deadline = w.deadline.Add(opts.Grace)
	case i.spec.StopGrace > 0:
		w.deadline = w.deadline.Add(i.spec.StopGrace)
	default:
		w.deadline = w.deadline.Add(compute.DefaultGrace)
	}
	return w
}

// want registers a wish until the function that it returns is called. The backend
// is locked, then too.
func (i *instance) want(w *wish) (done func()) {
	if i.stopping == nil {
		i.stopping = &stopping{sooner: make(chan struct{}, 1)}
	}
	s := i.stopping
	s.wishes = append(s.wishes, w)
	select {
	case s.sooner <- struct{}{}:
	default:
	}
	return func() {
		s.wishes = slices.DeleteFunc(s.wishes, func(other *wish) bool { return other == w })
		if len(s.wishes) == 0 {
			i.stopping = nil
		}
	}
}

// hasten has a Stop that others wait behind end no later than a further one wants,
// which is about to queue. The run is asked again, by the further one's signal.
func (h *handle) hasten(opts compute.StopOptions) (done func()) {
	b := h.p.backend
	b.mu.Lock()
	defer b.mu.Unlock()
	i, err := h.find(OpStop)
	if err != nil || !i.turn.taken || opts.IfRevision != "" && opts.IfRevision != i.revisionText() {
		return func() {}
	}
	w := i.wishOf(opts)
	if s := i.stopping; s != nil && w.deadline.Before(s.deadline()) && i.state == compute.Stopping {
		i.run.ask(w.signal)
	}
	end := i.want(w)
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

// stop ends the run under way. The backend is locked before and after.
func (p *Provider) stop(ctx context.Context, i *instance, opts compute.StopOptions) error {
	r := i.run
	if r == nil || r.over {
		i.settleStopped()
		return nil
	}
	r.stopped = true
	// What is frozen could not answer, and what lies on disk has nobody to ask.
	suspended := i.state == compute.Suspended
	r.thaw(time.Now())
	i.state = compute.Stopping
	if suspended {
		i.state = compute.Suspended
	}
	own := i.wishOf(opts)
	if opts.Force || suspended {
		r.force("forced")
	} else {
		if !r.ending {
			r.exit.Reason = "stopped"
		}
		r.ask(own.signal)
	}
	if r.over {
		return nil
	}
	if i.stopping != nil && i.stopping.deadline().Before(own.deadline) {
		// It came between this Stop's turn and its asking.
		r.ask(i.stopping.wishes[0].signal)
	}
	defer i.want(own)()
	s, ended := i.stopping, r.ended()
	var err error
	for !r.over && err == nil {
		err = p.waitStop(ctx, s, ended)
		if !r.over && err == nil && !time.Now().Before(s.deadline()) {
			r.force("forced")
			err = p.await(ctx, ended)
		}
	}
	if r.over {
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
	i.rest()
	i.space.emit(i, resource.EventChanged, resource.ReasonExit)
}
