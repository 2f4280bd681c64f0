package containerd

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/filelock"
	"github.com/univirt/univirt/resource"
)

// Delete implements compute.Instance. It makes four calls: the container is read,
// task and container are deleted, and the root filesystem, which gives the name
// back.
func (i *instance) Delete(ctx context.Context, opts compute.DeleteOptions) error {
	ctx, done, err := i.p.begin(ctx)
	if err != nil {
		return i.fail("delete", err)
	}
	defer done()
	if opts.Force {
		err = i.hurry(ctx, compute.StopOptions{Force: true, IfRevision: opts.IfRevision})
	}
	if err == nil {
		err = i.p.deleteInstance(ctx, i.id, opts)
	}
	return i.fail("delete", err)
}

func (p *Provider) deleteInstance(ctx context.Context, id string, opts compute.DeleteOptions) error {
	return p.through(ctx, id, func(ctx context.Context) error {
		return p.locked(ctx, id, func() error {
			k, err := p.loadContainer(ctx, id)
			if err != nil {
				return err
			}
			if err := k.owned(); err != nil && !opts.Force {
				return resource.Errorf(errdefs.ErrFailedPrecondition, "%v; force deletes it", err)
			}
			if err := k.checkRevision(opts.IfRevision); err != nil {
				return err
			}
			last, err := p.endTask(ctx, id, opts.Force)
			if err != nil {
				return err
			}
			if err := givenUp(ctx); err != nil {
				return err
			}
			p.events.ran(id, last)
			return p.remove(ctx, k)
		})
	})
}

// endTask deletes the task of an instance that is to be deleted, and tells of its
// last run. The exit of that needs no record: nobody can ask for it.
func (p *Provider) endTask(ctx context.Context, id string, force bool) (pastRun, error) {
	last, err := p.deleteRun(ctx, id)
	if err == nil {
		return last, nil
	}
	if done := givenUp(ctx); done != nil {
		return last, done
	}
	t, loadErr := p.loadTask(ctx, id)
	if loadErr != nil {
		return last, loadErr
	}
	op := compute.OpDelete
	if force {
		op = compute.OpDeleteForce
	}
	state := stateOf(t)
	if state != compute.Starting { // of a start whose process died: we have the lock
		if _, err := compute.CheckTransition(state, op); err != nil {
			return last, err
		}
	}
	if state != compute.Stopped { // else it has ended since
		if err := p.killAll(ctx, id); err != nil {
			return last, err
		}
	}
	last, err = p.deleteRun(ctx, id)
	if state == compute.Starting {
		return pastRun{}, err // it has been made, and did not run
	}
	return last, err
}

// remove deletes the container and then what only it had.
//
// Between the two the name is free to containerd's garbage collection and to
// whoever clears names, and a root filesystem that somebody makes for a new
// instance of the name then must not be ours to remove: a lease keeps the one
// off, and the lock the other.
func (p *Provider) remove(ctx context.Context, k *known) error {
	id := k.container.ID
	if k.record == nil || k.container.SnapshotKey != snapshotKey(k.record.Name) {
		if err := p.client.ContainerService().Delete(ctx, id); err != nil {
			return translate(ctx, err)
		}
		if k.container.SnapshotKey == "" {
			return nil
		}
		return translate(ctx, ignoreNotFound(p.client.SnapshotService(k.container.Snapshotter).Remove(ctx, k.container.SnapshotKey)))
	}
	key := k.container.SnapshotKey
	ctx, err := p.pin(ctx, key)
	if err != nil && !errdefs.IsNotFound(err) {
		return translate(ctx, err)
	}
	lock, err := filelock.Acquire(ctx, p.state.names(), filelock.Shared)
	if err != nil {
		return err
	}
	defer lock.Release()
	if err := p.client.ContainerService().Delete(ctx, id); err != nil {
		err = translate(ctx, err)
		if !errdefs.IsUnavailable(err) {
			return err
		}
		// It may have happened all the same.
		p.owe(func(ctx context.Context) error { return p.clearRoot(ctx, k.record.Name, id) })
		return &resource.Error{Kind: errdefs.ErrUnavailable, Err: err, Outcome: resource.OutcomeUnknown,
			Left: []resource.Ref{p.ref(resource.KindInstance, k.record.Name, id)}}
	}
	// From here on the instance is gone, whatever becomes of the context.
	ctx, cancel := p.cleanup(ctx)
	defer cancel()
	p.mortals.Remove(id)
	p.records.drop(id)
	err = ignoreNotFound(p.client.SnapshotService(p.snapshotter).Remove(ctx, key))
	p.leases.drop(key)
	if err != nil {
		p.owe(func(ctx context.Context) error { return p.clearRoot(ctx, k.record.Name, id) })
	}
	if err = errors.Join(translate(ctx, err), p.state.removeInstance(id)); err != nil {
		return &resource.Error{Kind: resource.KindOf(err), Outcome: resource.Done,
			Left: []resource.Ref{p.ref(resource.KindInstance, k.record.Name, id)},
			Err:  fmt.Errorf("the instance is gone, but not all that it had: %w", err)}
	}
	return nil
}
