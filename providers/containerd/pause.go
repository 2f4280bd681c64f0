package containerd

import (
	"context"
	"errors"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/outlive"
	"github.com/univirt/univirt/resource"
)

var _ compute.Pauser = (*instance)(nil)

// Pause implements compute.Pauser.
func (i *instance) Pause(ctx context.Context) error {
	return i.change(ctx, "pause", func(ctx context.Context) error {
		return i.transit(ctx, compute.OpPause, func() error {
			_, err := i.p.client.TaskService().Pause(ctx, &tasksapi.PauseTaskRequest{ContainerID: i.id})
			return err
		})
	})
}

// Resume implements compute.Pauser.
func (i *instance) Resume(ctx context.Context) error {
	return i.change(ctx, "resume", func(ctx context.Context) error {
		return i.transit(ctx, compute.OpResume, func() error {
			_, err := i.p.client.TaskService().Resume(ctx, &tasksapi.ResumeTaskRequest{ContainerID: i.id})
			return err
		})
	})
}

// transit does what leads from the present state to the next, if the table
// allows it.
func (i *instance) transit(ctx context.Context, op compute.Operation, do func() error) error {
	k, err := i.load(ctx)
	if err == nil {
		err = k.owned()
	}
	if err == nil {
		k.task, err = i.p.loadTask(ctx, i.id)
	}
	if err != nil {
		return err
	}
	to, err := compute.CheckTransition(stateOf(k.task), op)
	if err != nil || to.NoOp {
		return err
	}
	if err := givenUp(ctx); err != nil {
		return err
	}
	for begun := time.Now(); ; {
		err := translate(ctx, do())
		if err == nil {
			return nil
		}
		// Somebody else may have been faster, or the run may have ended.
		t, loadErr := i.p.loadTask(ctx, i.id)
		if loadErr != nil {
			return err
		}
		now, forbidden := compute.CheckTransition(stateOf(t), op)
		if forbidden != nil || now.NoOp {
			return forbidden
		}
		// A busy host does not always stand still at once, and a program that ends may
		// be gone before its task says so.
		patience := freezeTime
		if resource.KindOf(err) == nil {
			patience = endTime
		} else if !errors.Is(err, errdefs.ErrUnavailable) {
			return err
		}
		if time.Since(begun) > patience {
			return err
		}
		select {
		case <-outlive.Asked(ctx).Done():
			return givenUp(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// freezeTime is how long a pause is tried for, and endTime how long a task may
// say that a program runs that is gone.
const (
	freezeTime = 5 * time.Second
	endTime    = time.Second
)
