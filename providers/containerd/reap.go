package containerd

import (
	"context"
	"errors"
	"syscall"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
)

// A run that has ended leaves its task, and the task its shim and the writer of
// its log, until somebody deletes it: whoever starts, stops or deletes the
// instance next, follows its log, or the reaper. Whoever does it writes the exit
// down first, unless the instance goes too.

// exitOf reads how the run of a stopped task ended.
func (p *Provider) exitOf(ctx context.Context, t *task.Process) exitRecord {
	if t.ExitStatus != killed {
		return exitFrom(t, false)
	}
	id := taskID(t)
	return exitFrom(t, p.ranOut(ctx, id)[id])
}

// exitFrom is exitOf where it is known whether memory ran out.
func exitFrom(t *task.Process, outOfMemory bool) exitRecord {
	run := runOf(t)
	e := exitRecord{
		Run: run, Known: true, Code: int(t.ExitStatus), Started: runStarted(run), PID: t.Pid,
		OOM: outOfMemory && t.ExitStatus == killed,
	}
	if t.ExitedAt != nil && t.ExitedAt.AsTime().Unix() > 0 {
		e.Finished = t.ExitedAt.AsTime()
	}
	if e.OOM {
		// An exit code of 128 and more alone may be the program's own.
		e.Signal = compute.SignalName(int(syscall.SIGKILL))
	}
	return e
}

// killed is the exit code of what ended by SIGKILL.
const killed = 128 + 9

// reap deletes the task of a run that has ended. The task is that of k.
func (p *Provider) reap(ctx context.Context, k *known) error {
	e := p.exitOf(ctx, k.task)
	e.Again = k.again(e.exit())
	if err := p.writeExit(ctx, k.container, e); err != nil {
		return err
	}
	return p.deleteTask(ctx, k.container.ID)
}

// writeExit records how a run ended.
func (p *Provider) writeExit(ctx context.Context, c containers.Container, e exitRecord) error {
	last, found := lastExit(c)
	if found && last.Run == e.Run {
		return nil
	}
	e.Runs = last.Runs + 1
	_, err := p.client.ContainerService().Update(ctx,
		containers.Container{ID: c.ID, Labels: map[string]string{labelExit: e.encode()}}, "labels."+labelExit)
	return translate(ctx, err)
}

// deleteTask deletes a stopped task; that there is none is nil.
func (p *Provider) deleteTask(ctx context.Context, id string) error {
	_, err := p.deleteRun(ctx, id)
	return err
}

// deleteRun is deleteTask, and tells of what ran in it.
func (p *Provider) deleteRun(ctx context.Context, id string) (pastRun, error) {
	gone, err := p.client.TaskService().Delete(ctx, &tasksapi.DeleteTaskRequest{ContainerID: id})
	if err != nil {
		return pastRun{}, ignoreNotFound(translate(ctx, err))
	}
	if gone.ExitedAt.GetSeconds() <= 0 {
		return pastRun{}, nil // it was made, and never began
	}
	return pastRun{gone.Pid, gone.ExitedAt.AsTime()}, nil
}

// collect reaps the task of an instance if its run has ended, and reports
// whether it has. Somebody else may have done it meanwhile.
func (p *Provider) collect(ctx context.Context, id, run string) (bool, error) {
	over := true
	err := p.through(ctx, id, func(ctx context.Context) error {
		// What ran has a folder, until it is deleted.
		return p.lockedThere(ctx, id, func() error {
			t, err := p.loadTask(ctx, id)
			if err != nil || t == nil || run != "" && runOf(t) != run {
				return err
			}
			if stateOf(t) != compute.Stopped {
				over = false
				return nil
			}
			k, err := p.loadContainer(ctx, id)
			if err != nil || k.record == nil {
				return err
			}
			k.task = t
			return p.reap(ctx, k)
		})
	})
	if errors.Is(err, errdefs.ErrNotFound) && ctx.Err() == nil {
		return true, nil
	}
	return err == nil && over, err
}
