package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/filelock"
	"github.com/univirt/univirt/internal/outlive"
	"github.com/univirt/univirt/resource"
)

// change runs an operation that changes the instance, when its turn has come.
// What is to be done before it waits for that comes behind.
func (i *instance) change(ctx context.Context, op string, do func(context.Context) error, before ...func(context.Context) error) error {
	ctx, done, err := i.p.begin(ctx)
	if err != nil {
		return i.fail(op, err)
	}
	defer done()
	for _, first := range before {
		if err := first(ctx); err != nil {
			return i.fail(op, err)
		}
	}
	return i.fail(op, i.p.through(ctx, i.id, do))
}

// through runs a change of an instance when its turn has come.
//
// Containerd gives up in the middle of a call that is cancelled, and leaves
// shims and tasks that it neither tells of nor makes anew. So the calls of a
// change go on when their context ends, for the time of a clean-up at most: the
// caller waits no more than a moment, and the change does not begin its next step
// but for what makes the state whole again. The turn is passed on when it has
// ended.
//
// Where the daemon was lost over a change the error says that its outcome is not
// known.
func (p *Provider) through(ctx context.Context, id string, do func(context.Context) error) error {
	ctx = outlive.WithEffects(ctx)
	pass, err := p.turns.Take(ctx, id)
	if err != nil {
		return ended(ctx)
	}
	outcome := make(chan error, 1)
	p.detached.Go(func() {
		defer pass()
		longer, cancel := outlive.Context(ctx, compute.CleanupTimeout)
		defer cancel()
		outcome <- outlive.EffectsOf(ctx).Sure(do(longer))
	})
	select {
	case err := <-outcome:
		return err
	case <-ctx.Done():
	}
	// A daemon that is well has answered before long, and the caller sees the state
	// that the change leaves.
	settled := time.NewTimer(settleTime)
	defer settled.Stop()
	select {
	case err := <-outcome:
		return err
	case <-settled.C:
		return outlive.EffectsOf(ctx).Sure(ended(ctx))
	}
}

// settleTime is how long a change whose context has ended is awaited.
const settleTime = time.Second

// givenUp is the error of a change whose caller does not wait any more.
func givenUp(ctx context.Context) error { return ended(outlive.Asked(ctx)) }

// locked runs a part of a change that no other process may disturb. An instance
// that turns out to be gone leaves no folder.
func (p *Provider) locked(ctx context.Context, id string, do func() error) error {
	if !resource.IsID(id) {
		// Only an instance of ours has a folder.
		return do()
	}
	lock, made, err := p.state.lockInstance(outlive.Asked(ctx), id)
	return p.withLock(ctx, id, lock, made, err, do)
}

// lockedThere is locked for what is done after the fact, when the instance may
// have been deleted: where it has no folder it gets none, and the error is
// NotFound.
func (p *Provider) lockedThere(ctx context.Context, id string, do func() error) error {
	if !resource.IsID(id) {
		return do()
	}
	lock, err := p.state.lockFolder(outlive.Asked(ctx), id)
	if errors.Is(err, fs.ErrNotExist) {
		return resource.Errorf(errdefs.ErrNotFound, "no such instance")
	}
	return p.withLock(ctx, id, lock, false, err, do)
}

// withLock does what the lock was taken for, and gives it back. A folder that was
// made for it goes, unless something was put into it.
func (p *Provider) withLock(ctx context.Context, id string, lock *filelock.Lock, made bool, err error, do func() error) error {
	defer lock.Release()
	if made && err == nil {
		defer func() {
			_ = os.Remove(filepath.Join(p.state.instance(id), lockName))
			_ = os.Remove(p.state.instance(id))
		}()
	}
	if done := givenUp(ctx); done != nil {
		return done
	}
	if err != nil {
		return fmt.Errorf("lock the instance: %w", err)
	}
	err = do()
	if errors.Is(err, errdefs.ErrNotFound) && p.gone(ctx, id) {
		_ = p.state.removeInstance(id)
	}
	return err
}

// gone reports whether there certainly is no container of that ID.
func (p *Provider) gone(ctx context.Context, id string) bool {
	_, err := p.client.ContainerService().Get(ctx, id)
	return ctx.Err() == nil && errdefs.IsNotFound(err)
}
