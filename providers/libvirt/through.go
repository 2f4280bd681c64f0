//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/filelock"
	"github.com/univirt/univirt/internal/outlive"
	"github.com/univirt/univirt/resource"
)

// change runs an operation that changes the instance, when its turn has come.
// What is to be done before it waits for that comes behind.
//
// A call to libvirt cannot be ended, so a change goes on when its context has: the
// caller waits no more than a moment, and the change does not begin its next step.
// The turn is passed on when it has ended.
func (i *instance) change(ctx context.Context, op string, do func(context.Context) error, before ...func(context.Context) error) error {
	return i.changeWithin(ctx, settleTime, op, do, before...)
}

// changeWithin is change for what must not go on unseen: its caller waits longer.
func (i *instance) changeWithin(ctx context.Context, most time.Duration, op string, do func(context.Context) error, before ...func(context.Context) error) error {
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
	pass, err := i.p.turns.Take(ctx, i.id)
	if err != nil {
		return i.fail(op, ended(ctx))
	}
	return i.fail(op, i.p.seenThrough(ctx, most, func(ctx context.Context) error {
		defer pass()
		return do(ctx)
	}))
}

// seenThrough runs a change that goes on when its context has ended, for the time of
// a clean-up at most. Its caller waits for it no longer than it is told then.
func (p *Provider) seenThrough(ctx context.Context, most time.Duration, do func(context.Context) error) error {
	ctx = withStrays(outlive.WithEffects(ctx))
	outcome := make(chan error, 1)
	p.detached.Go(func() {
		longer, cancel := outlive.Context(ctx, compute.CleanupTimeout)
		defer cancel()
		outcome <- outlive.EffectsOf(ctx).Sure(do(longer))
	})
	select {
	case err := <-outcome:
		return err
	case <-ctx.Done():
	}
	// What has changed nothing by then changes nothing any more.
	for _, patience := range []time.Duration{settleTime, most - settleTime} {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		select {
		case err := <-outcome:
			return err
		case <-timer.C:
		}
		if !outlive.EffectsOf(ctx).Asked() {
			break
		}
	}
	return outlive.EffectsOf(ctx).Sure(ended(ctx))
}

// locked runs a part of a change that no other process may disturb: libvirt has no
// way to change what is as it was read only. The lock's file goes with the lock;
// an ID that is none names no file.
func (p *Provider) locked(ctx context.Context, id string, do func() error) error {
	if !resource.IsID(id) {
		return errNotFound()
	}
	lock, err := filelock.Acquire(outlive.Asked(ctx), p.lockPath(id), filelock.Exclusive)
	if err != nil && outlive.Asked(ctx).Err() != nil {
		return givenUp(ctx)
	}
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("lock the instance: %w", err)
	}
	defer lock.Remove()
	return do()
}

// lockedAll is locked for several IDs, in the same order for all.
func (p *Provider) lockedAll(ctx context.Context, ids []string, do func() error) error {
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	if len(ids) == 0 {
		return do()
	}
	return p.locked(ctx, ids[0], func() error { return p.lockedAll(ctx, ids[1:], do) })
}

// settleTime is how long a change whose context has ended is awaited.
const settleTime = time.Second

// changes notes that a call that changes something is about to be made. Where that
// would be the first, and the caller has given up, it is an error.
func changes(ctx context.Context) error {
	if outlive.Ask(ctx) {
		return nil
	}
	return givenUp(ctx)
}

// givenUp is the error of a change whose caller does not wait any more.
func givenUp(ctx context.Context) error { return ended(outlive.Asked(ctx)) }
