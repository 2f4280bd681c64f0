package containerd

import (
	"context"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// Wait implements compute.Instance. It relies on containerd's own wait; which run
// it was for is read afterwards, and also before where a run is named.
func (i *instance) Wait(ctx context.Context, opts compute.WaitOptions) (compute.Exit, error) {
	ctx, done, err := i.p.begin(ctx)
	if err != nil {
		return compute.Exit{}, i.fail("wait", err)
	}
	defer done()
	exit, err := i.wait(ctx, opts.Run)
	if err != nil {
		return compute.Exit{}, i.fail("wait", err)
	}
	return exit, nil
}

func (i *instance) wait(ctx context.Context, run string) (compute.Exit, error) {
	if checkIdentifier(i.id) != "" {
		return compute.Exit{}, resource.Errorf(errdefs.ErrNotFound, "no such instance")
	}
	if run != "" {
		// A wait for another run than the one under way would last for the wrong one.
		t, err := i.p.loadTask(ctx, i.id)
		if err != nil {
			return compute.Exit{}, err
		}
		if runOf(t) != run {
			return i.recorded(ctx, run)
		}
	}
	_, err := i.p.client.TaskService().Wait(ctx, &tasksapi.WaitRequest{ContainerID: i.id})
	err = translate(ctx, err)
	if err != nil && resource.KindOf(err) == nil && ended(ctx) == nil && i.p.endsMeanwhile(ctx, i.id, err) {
		// Whoever reaped the run was faster than the answer, and its shim is gone.
		err = nil
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return compute.Exit{}, err
	}
	if err == nil {
		t, err := i.p.loadTask(ctx, i.id)
		if err != nil {
			return compute.Exit{}, err
		}
		if stateOf(t) == compute.Stopped && t != nil && (run == "" || runOf(t) == run) {
			exit := i.p.exitOf(ctx, t).exit()
			if exit.Code != killed || exit.OOM {
				return exit, nil
			}
			// Whether memory ran out cannot be asked of a task that was reaped meanwhile,
			// but its record says it.
			recorded, err := i.recorded(ctx, exit.Run)
			if err == nil && !recorded.Known {
				recorded = exit
			}
			return recorded, err
		}
	}
	return i.recorded(ctx, run)
}

// recorded finds the exit of a run that has no task any more.
func (i *instance) recorded(ctx context.Context, run string) (compute.Exit, error) {
	k, err := i.load(ctx)
	if err != nil {
		return compute.Exit{}, err
	}
	last, found := lastExit(k.container)
	if run == "" {
		run = max(last.Run, i.p.lastRun(i.id))
	}
	switch {
	case found && last.Run == run:
		return last.exit(), nil
	case run == "":
		return compute.Exit{}, resource.Errorf(errdefs.ErrFailedPrecondition, "the instance has never run")
	}
	return compute.Exit{Run: run, Started: runStarted(run)}, nil
}
