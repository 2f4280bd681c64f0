package fake

import (
	"context"
	"time"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

var (
	_ compute.Pauser    = (*handle)(nil)
	_ compute.Suspender = (*handle)(nil)
)

// Pause stops the programs of the instance where they use their Process next: a
// stream, memory, the network, files. Nothing can keep a Go function from
// computing meanwhile.
func (h *handle) Pause(ctx context.Context) error {
	return h.change(ctx, OpPause, compute.OpPause, "", func(i *instance, t compute.Transition) error {
		if err := h.p.lively(ctx, i, compute.OpPause); err != nil {
			return err
		}
		i.run.freeze()
		i.state = t.To
		i.space.emit(i, resource.EventChanged, resource.ReasonPause)
		return nil
	})
}

// Resume lets them go on.
func (h *handle) Resume(ctx context.Context) error {
	return h.change(ctx, OpResume, compute.OpResume, "", func(i *instance, t compute.Transition) error {
		i.run.thaw(time.Now())
		i.state = t.To
		i.space.emit(i, resource.EventChanged, resource.ReasonResume)
		return nil
	})
}

// Suspend stops the programs as Pause does, and gives back what the run occupies.
func (h *handle) Suspend(ctx context.Context, _ compute.SuspendOptions) error {
	return h.change(ctx, OpSuspend, compute.OpSuspend, "", func(i *instance, t compute.Transition) error {
		if err := h.p.lively(ctx, i, compute.OpSuspend); err != nil {
			return err
		}
		i.run.freeze()
		i.unplug()
		h.p.backend.vacate(i.run.limits)
		i.state = t.To
		i.space.emit(i, resource.EventChanged, resource.ReasonSuspend)
		return nil
	})
}

// wake resumes a run from a suspension. The backend is locked.
func (p *Provider) wake(i *instance) error {
	r := i.run
	if err := p.backend.occupy(r.limits); err != nil {
		return err
	}
	if err := i.plug(); err != nil {
		p.backend.vacate(r.limits)
		return err
	}
	r.thaw(time.Now())
	i.state = compute.Running
	i.space.emit(i, resource.EventChanged, resource.ReasonStart)
	return nil
}

// lively waits for the end of a run that has begun to end though the instance is
// still Running: then the operation is not allowed any more. The backend is locked
// before and after.
func (p *Provider) lively(ctx context.Context, i *instance, does compute.Operation) error {
	for r := i.run; r.dying(); {
		ended := (<-chan struct{})(r.restart)
		if ended == nil {
			ended = r.ended()
		}
		if err := p.await(ctx, ended); err != nil {
			return err
		}
	}
	if i.gone {
		return errNoInstance
	}
	_, err := compute.CheckTransition(i.state, does)
	return err
}

// dying reports whether the run is on its way to its end, or to a new beginning.
// The backend is locked.
func (r *run) dying() bool {
	return !r.over && (r.ending || r.restart != nil || r.main != nil && (r.main.fatal != 0 || r.main.shutting))
}

var _ compute.Resetter = (*handle)(nil)

// Reset kills the programs of a virtual machine, and starts its main one again
// within the same run.
func (h *handle) Reset(ctx context.Context) error {
	return h.change(ctx, OpReset, compute.OpReset, "", func(i *instance, _ compute.Transition) error {
		if err := h.p.lively(ctx, i, compute.OpReset); err != nil {
			return err
		}
		r := i.run
		if r.boot != nil {
			r.boot.Stop()
		}
		done := make(chan struct{})
		r.ready, r.by = false, h.p
		r.active().restart = done
		r.killAll()
		r.settleEnd()
		return h.p.await(ctx, done)
	})
}

// relaunch starts the main process again when a reset has ended all processes.
// The backend is locked.
func (r *run) relaunch() {
	var c command
	if r.main != nil {
		c = r.main.command
	}
	done := r.restart
	r.restart = nil
	r.main = nil
	if r.stdin != nil {
		r.stdin = newPipe(pipeSize, 1)
	}
	r.instance.space.emit(r.instance, resource.EventChanged, resource.ReasonReset)
	r.launch(c)
	r.by.bootUp(r)
	r.supervise()
	close(done)
}
