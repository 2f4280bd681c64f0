//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"

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
		afterwards(ctx, pass)
		return do(ctx)
	}))
}

// seenThrough runs a change that goes on when its context has ended, for the time of
// a clean-up at most. Its caller waits for it no longer than it is told then.
func (p *Provider) seenThrough(ctx context.Context, most time.Duration, do func(context.Context) error) error {
	outcome := make(chan error, 1)
	p.detached.Go(func() {
		longer, cancel := outlive.Context(ctx, compute.CleanupTimeout)
		defer cancel()
		longer, touched := withEffects(longer)
		defer touched.end()
		outcome <- touched.sure(do(longer))
	})
	select {
	case err := <-outcome:
		return err
	case <-ctx.Done():
	}
	patience := time.NewTimer(most)
	defer patience.Stop()
	select {
	case err := <-outcome:
		return err
	case <-patience.C:
		return ended(ctx)
	}
}

// locked runs a part of a change that no other process may disturb: libvirt has no
// way to change what is as it was read only. The lock's file goes with the lock;
// an ID that is none names no file.
func (p *Provider) locked(ctx context.Context, id string, do func() error) error {
	lock, err := p.lock(ctx, id)
	if err != nil {
		return err
	}
	defer lock.Remove()
	return do()
}

// lock takes the lock of locked; nil where this system has none.
func (p *Provider) lock(ctx context.Context, id string) (*filelock.Lock, error) {
	if !resource.IsID(id) {
		return nil, errNotFound()
	}
	lock, err := filelock.Acquire(outlive.Asked(ctx), p.lockPath(id), filelock.Exclusive)
	if err != nil && outlive.Asked(ctx).Err() != nil {
		return nil, givenUp(ctx)
	}
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return nil, fmt.Errorf("lock the instance: %w", err)
	}
	return lock, nil
}

// locking is a lock of locked that is being taken while its taker asks what it is for.
type locking struct {
	taken chan struct{} // closed when lock and err are known
	lock  *filelock.Lock
	err   error
	once  sync.Once
}

// lockWhile begins to take the lock for a change, which has it until it ends. Its caller
// does not wait for its file to be removed.
func (p *Provider) lockWhile(ctx context.Context, id string) *locking {
	k := &locking{taken: make(chan struct{})}
	p.detached.Go(func() {
		k.lock, k.err = p.lock(ctx, id)
		close(k.taken)
	})
	afterwards(ctx, k.release)
	return k
}

// release gives the lock back, and may be called several times.
func (k *locking) release() {
	<-k.taken
	k.once.Do(k.lock.Remove)
}

// lockPatience is how long a call waits for a lock that another process may hold for
// long: it has a connection meanwhile, which the holder may need.
const lockPatience = 5 * time.Millisecond

var errHeld = errors.New("another process holds the lock")

// within reports whether the lock is taken, or cannot be, after some time.
func (k *locking) within(most time.Duration) bool {
	select {
	case <-k.taken:
		return true
	default:
	}
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-k.taken:
		return true
	case <-timer.C:
		return false
	}
}

// settledBy asks whether a change may be made, and returns when the lock is taken, or
// errHeld. That it may, as nothing that other processes do beside makes a difference to,
// counts although it was asked before; anything else is asked again.
func settledBy[T any](k *locking, ask func(locked bool) (T, error)) (out T, err error) {
	locked := k.within(0)
	if !locked {
		out, err = ask(false)
		if !k.within(lockPatience) {
			return out, errHeld
		}
	}
	if k.err != nil {
		return out, k.err
	}
	if locked || err != nil {
		out, err = ask(true)
	}
	return out, err
}

// whileLocking is inOneGo for calls that are settled by a lock.
func whileLocking[T any](ctx context.Context, i *instance, k *locking, do func(*lane) (T, error)) (T, error) {
	out, err := inOneGo(ctx, i, do)
	if !errors.Is(err, errHeld) {
		return out, err
	}
	<-k.taken
	return inOneGo(ctx, i, do)
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

// effects says whether an operation has made a call that changes something.
type effects struct {
	touched atomic.Bool
	// after is done when the caller has the outcome, the last first.
	after []func()
}

type effectsKey struct{}

func withEffects(ctx context.Context) (context.Context, *effects) {
	e := new(effects)
	return context.WithValue(ctx, effectsKey{}, e), e
}

// changes notes that a call that changes something is about to be made.
func changes(ctx context.Context) {
	if e, ok := ctx.Value(effectsKey{}).(*effects); ok {
		e.touched.Store(true)
	}
}

// afterwards has something done when the caller of a change has its outcome.
func afterwards(ctx context.Context, do func()) {
	e := ctx.Value(effectsKey{}).(*effects)
	e.after = append(e.after, do)
}

func (e *effects) end() {
	for _, do := range slices.Backward(e.after) {
		do()
	}
}

// sure says of an operation that lost its hypervisor that its outcome is not known,
// where it had begun to change something.
func (e *effects) sure(err error) error {
	var own *resource.Error
	if !e.touched.Load() || !errors.Is(err, errdefs.ErrUnavailable) || !errors.As(err, &own) || own.Outcome != resource.NotDone {
		return err
	}
	out := *own
	out.Outcome = resource.OutcomeUnknown
	return &out
}

// givenUp is the error of a change whose caller does not wait any more.
func givenUp(ctx context.Context) error { return ended(outlive.Asked(ctx)) }
