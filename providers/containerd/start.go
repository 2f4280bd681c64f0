package containerd

import (
	"context"
	"errors"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/logfile"
	"github.com/univirt/univirt/internal/outlive"
	"github.com/univirt/univirt/resource"
)

// Start implements compute.Instance. It makes four calls: the container is read,
// then its root filesystem, and the task is made and started.
func (i *instance) Start(ctx context.Context, opts compute.StartOptions) error {
	return i.change(ctx, "start", func(ctx context.Context) error { return i.start(ctx, opts) })
}

func (i *instance) start(ctx context.Context, opts compute.StartOptions) error {
	return i.p.locked(ctx, i.id, func() error {
		k, err := i.load(ctx)
		if err == nil {
			err = k.owned()
		}
		if err == nil {
			err = k.checkRevision(opts.IfRevision)
		}
		if err != nil {
			return err
		}
		return i.begin(ctx, k, 0)
	})
}

// begin begins a run, the how manieth restart of its row is given. The instance is
// locked.
func (i *instance) begin(ctx context.Context, k *known, restarts int) error {
	for begun := time.Now(); ; {
		err := i.p.run(ctx, k, restarts)
		if !errors.Is(err, errdefs.ErrAlreadyExists) {
			return err
		}
		if time.Since(begun) > compute.CleanupTimeout {
			return resource.Errorf(errdefs.ErrUnavailable, "containerd does not get rid of the task of the run before: %w", withoutKind{err})
		}
		done, err := i.makeWay(ctx, k)
		if done || err != nil {
			return err
		}
	}
}

// makeWay clears away the task that keeps a start from making one: of a run that
// has ended, or of a start whose process died. With a run under way there is
// nothing to be done.
func (i *instance) makeWay(ctx context.Context, k *known) (done bool, err error) {
	if k.task, err = i.p.loadTask(ctx, i.id); err != nil {
		return false, err
	}
	switch state := stateOf(k.task); {
	case k.task == nil:
		// Somebody is deleting it, or has just done so.
		select {
		case <-outlive.Asked(ctx).Done():
			return false, givenUp(ctx)
		case <-time.After(10 * time.Millisecond):
			return false, nil
		}
	case state == compute.Stopped:
		return false, i.p.reap(ctx, k)
	case state == compute.Starting:
		return false, i.p.abandon(ctx, i.id, runOf(k.task))
	default:
		_, err := compute.CheckTransition(state, compute.OpStart)
		return err == nil, err
	}
}

// run makes a task and starts it.
func (p *Provider) run(ctx context.Context, k *known, restarts int) (err error) {
	id, terminal := k.container.ID, k.record.spec.Process.TTY
	run := newRun(time.Now(), restarts)
	output, err := p.output(id, run, terminal)
	if err != nil {
		return err
	}
	rootfs, err := p.client.SnapshotService(k.container.Snapshotter).Mounts(ctx, k.container.SnapshotKey)
	if err != nil {
		if errdefs.IsNotFound(err) && ctx.Err() == nil {
			return resource.Errorf(errdefs.ErrDataLoss, "the root filesystem is gone: %w", withoutKind{err})
		}
		return translate(ctx, err)
	}
	request := &tasksapi.CreateTaskRequest{
		ContainerID: id,
		Rootfs:      mount.ToProto(rootfs),
		Terminal:    terminal,
		Stdout:      output,
	}
	if !terminal {
		request.Stderr = output
	}
	if err := givenUp(ctx); err != nil {
		return err
	}
	if _, err := p.client.TaskService().Create(ctx, request); err != nil {
		err = translate(ctx, err)
		if errors.Is(err, errdefs.ErrAlreadyExists) {
			return err
		}
		return p.undoStart(ctx, id, run, err)
	}
	// The shim says nothing of a log writer that failed. While nothing runs yet it
	// must be there.
	if writing, err := logfile.Writing(p.state.logs(id), run); err != nil || !writing {
		return p.undoStart(ctx, id, run, errors.Join(resource.Errorf(errdefs.ErrInternal, "the writer of the log did not come up"), err))
	}
	if err := givenUp(ctx); err != nil {
		return p.undoStart(ctx, id, run, err)
	}
	p.reaper.expect(id)
	if _, err := p.client.TaskService().Start(ctx, &tasksapi.StartRequest{ContainerID: id}); err != nil {
		return p.undoStart(ctx, id, run, translate(ctx, err))
	}
	return nil
}

// undoStart removes the task of a start that failed, unless it runs all the
// same: the daemon may have been faster than the end of the context.
func (p *Provider) undoStart(ctx context.Context, id, run string, cause error) error {
	interrupted := givenUp(ctx) != nil || errors.Is(cause, errdefs.ErrUnavailable)
	ctx, cancel := p.cleanup(ctx)
	defer cancel()
	err := error(nil)
	if interrupted {
		var t *task.Process
		t, err = p.loadTask(ctx, id)
		if s := stateOf(t); err == nil && runOf(t) == run && (s == compute.Running || s == compute.Paused) {
			return &resource.Error{Kind: resource.KindOf(cause), Err: cause, Outcome: resource.Done}
		}
	}
	if err == nil {
		err = p.abandon(ctx, id, run)
	}
	if err == nil {
		outlive.EffectsOf(ctx).Undone()
		return cause
	}
	p.owe(func(ctx context.Context) error { return p.abandonLater(ctx, id, run) })
	return outlive.NotUndone(cause, err)
}

// abandonLater is abandon for when the daemon is back, unless somebody was faster.
func (p *Provider) abandonLater(ctx context.Context, id, run string) error {
	return p.through(ctx, id, func(ctx context.Context) error {
		return p.lockedThere(ctx, id, func() error {
			t, err := p.loadTask(ctx, id)
			if err != nil || runOf(t) != run || stateOf(t) != compute.Starting {
				return err
			}
			return p.abandon(ctx, id, run)
		})
	})
}

// abandon removes a task whose process was never started, and what it logged.
func (p *Provider) abandon(ctx context.Context, id, run string) error {
	if err := p.deleteTask(ctx, id); err != nil {
		// What cannot be deleted as it is must be ended first.
		if err := p.killAll(ctx, id); err != nil {
			return err
		}
		if err := p.deleteTask(ctx, id); err != nil {
			return err
		}
	}
	if run == "" {
		return nil
	}
	if err := logfile.Await(ctx, p.state.logs(id), run); err != nil {
		return err
	}
	return logfile.RemoveRun(p.state.logs(id), run)
}
