package containerd

import (
	"cmp"
	"context"
	"errors"
	"syscall"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/outlive"
)

// Stop implements compute.Instance.
func (i *instance) Stop(ctx context.Context, opts compute.StopOptions) error {
	return i.change(ctx, "stop", func(ctx context.Context) error { return i.stop(ctx, opts) }, func(ctx context.Context) error {
		if err := opts.Validate().Err(); err != nil {
			return err
		}
		return i.hurry(ctx, opts)
	})
}

// hurry shortens the patience of a Stop that waits already, and sends the signal
// in its place.
func (i *instance) hurry(ctx context.Context, opts compute.StopOptions) error {
	if !i.p.turns.Waited(i.id) {
		return nil
	}
	k, err := i.load(ctx)
	if err != nil {
		return err
	}
	if k.record == nil || k.checkRevision(opts.IfRevision) != nil {
		return nil // it will be told when its turn has come
	}
	if opts.Force {
		i.p.turns.Hurry(i.id, time.Now())
		return nil
	}
	number, grace, err := stopping(opts, k)
	if err != nil || !i.p.turns.Hurry(i.id, time.Now().Add(grace)) {
		return err
	}
	return i.p.kill(ctx, i.id, number, false)
}

func (i *instance) stop(ctx context.Context, opts compute.StopOptions) error {
	k, err := i.load(ctx)
	if err == nil {
		err = k.made()
	}
	if err == nil {
		err = k.checkRevision(opts.IfRevision)
	}
	if err == nil {
		k, err = i.forgo(ctx, k)
	}
	if err == nil && k.task == nil {
		k.task, err = i.p.loadTask(ctx, i.id)
	}
	if err != nil {
		return err
	}
	switch state := stateOf(k.task); state {
	case compute.Stopped, compute.Starting:
		if k.task == nil {
			return nil
		}
		return i.p.clear(ctx, k)
	default:
		if _, err := compute.CheckTransition(state, compute.OpStop); err != nil {
			return err
		}
	}
	if err := i.endRun(ctx, k, opts); err != nil {
		return err
	}
	run := runOf(k.task)
	return i.p.locked(ctx, i.id, func() (err error) {
		k.task, err = i.p.loadTask(ctx, i.id)
		if err != nil || k.task == nil || runOf(k.task) != run || stateOf(k.task) != compute.Stopped {
			return err // somebody else was faster, and may have begun another run
		}
		return i.p.reap(ctx, k)
	})
}

// stopping returns the signal and the grace of a Stop.
func stopping(opts compute.StopOptions, k *known) (number int, grace time.Duration, err error) {
	number, err = compute.ParseSignal(cmp.Or(opts.Signal, k.record.spec.StopSignal))
	return number, cmp.Or(opts.Grace, k.record.spec.StopGrace, compute.DefaultGrace), err
}

// clear removes the task of a run that has ended, or of a start whose process
// died: one that lives holds the lock.
func (p *Provider) clear(ctx context.Context, k *known) error {
	return p.locked(ctx, k.container.ID, func() (err error) {
		if k.task, err = p.loadTask(ctx, k.container.ID); err != nil || k.task == nil {
			return err
		}
		switch state := stateOf(k.task); state {
		case compute.Stopped:
			return p.reap(ctx, k)
		case compute.Starting:
			return p.abandon(ctx, k.container.ID, runOf(k.task))
		default:
			_, err := compute.CheckTransition(state, compute.OpStop)
			return err
		}
	})
}

// endRun asks the main process to end, and forces it when the grace is over.
func (i *instance) endRun(ctx context.Context, k *known, opts compute.StopOptions) error {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	exit := i.p.awaitExit(waiting, i.id)
	if !opts.Force {
		number, grace, err := stopping(opts, k)
		if err != nil {
			return err
		}
		patience, done := i.p.turns.Wait(i.id, time.Now().Add(grace))
		defer done()
		if err := i.ask(ctx, k, number); err != nil {
			return err
		}
		for over := false; !over; {
			timer := time.NewTimer(patience.Remaining())
			select {
			case err := <-exit:
				timer.Stop()
				return err
			case <-outlive.Asked(ctx).Done():
				timer.Stop()
				return givenUp(ctx)
			case <-patience.Shortened():
				timer.Stop()
			case <-timer.C:
				over = true
			}
		}
	}
	if err := i.p.kill(ctx, i.id, int(syscall.SIGKILL), true); err != nil {
		return err
	}
	if stateOf(k.task) == compute.Paused {
		// The kernel delivers nothing to what is frozen.
		if err := i.p.thaw(ctx, i.id); err != nil {
			return err
		}
	}
	select {
	case err := <-exit:
		return err
	case <-outlive.Asked(ctx).Done():
		return givenUp(ctx)
	}
}

// ask sends the stop signal, which a paused instance could not act upon.
func (i *instance) ask(ctx context.Context, k *known, number int) error {
	if err := i.p.kill(ctx, i.id, number, false); err != nil {
		return err
	}
	if stateOf(k.task) == compute.Paused {
		return i.p.thaw(ctx, i.id)
	}
	return nil
}

// thaw resumes a paused task; that it runs, or is gone, is nil.
func (p *Provider) thaw(ctx context.Context, id string) error {
	_, err := p.client.TaskService().Resume(ctx, &tasksapi.ResumeTaskRequest{ContainerID: id})
	err = translate(ctx, err)
	if err == nil || errors.Is(err, errdefs.ErrNotFound) || errors.Is(err, errdefs.ErrFailedPrecondition) {
		return nil
	}
	t, loadErr := p.loadTask(ctx, id)
	if loadErr == nil && stateOf(t) != compute.Paused {
		return nil
	}
	return err
}

// kill sends a signal to the main process, or to all of the instance. That there
// is nobody left to send it to is nil.
func (p *Provider) kill(ctx context.Context, id string, signal int, all bool) error {
	_, err := p.client.TaskService().Kill(ctx, &tasksapi.KillRequest{ContainerID: id, Signal: uint32(signal), All: all})
	if err = translate(ctx, err); errors.Is(err, errdefs.ErrNotFound) {
		return nil
	}
	return err
}

// killAll ends a run at once, and returns when it has ended.
func (p *Provider) killAll(ctx context.Context, id string) error {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	exit := p.awaitExit(waiting, id)
	if err := p.kill(ctx, id, int(syscall.SIGKILL), true); err != nil {
		return err
	}
	if t, err := p.loadTask(ctx, id); err != nil || t == nil {
		return err
	} else if stateOf(t) == compute.Paused {
		if err := p.thaw(ctx, id); err != nil {
			return err
		}
	}
	select {
	case err := <-exit:
		return err
	case <-outlive.Asked(ctx).Done():
		return givenUp(ctx)
	}
}

// awaitExit waits for the end of the run under way; that there is none is nil.
// The channel gets one value, at the latest when the context ends.
func (p *Provider) awaitExit(ctx context.Context, id string) <-chan error {
	out := make(chan error, 1)
	go func() {
		_, err := p.client.TaskService().Wait(ctx, &tasksapi.WaitRequest{ContainerID: id})
		out <- ignoreNotFound(translate(ctx, err))
	}()
	return out
}
