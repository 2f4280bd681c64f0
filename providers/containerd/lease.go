package containerd

import (
	"context"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/internal/outlive"
	"github.com/univirt/univirt/internal/turns"
	"github.com/univirt/univirt/resource"
)

const (
	// leaseTime is when containerd may take what this value was making after the
	// process died and nobody sweeps.
	leaseTime = time.Hour
	// leaseReserve is how long a lease must still hold for a use that begins now.
	leaseReserve = leaseTime / 2
)

// leaseKeeper has the lease under which this value makes things. One lease
// serves all its creates, so that none pays for making and deleting one.
type leaseKeeper struct {
	// renewal is whose turn it is to make a lease; mu is never held over a call.
	renewal turns.Queue
	mu      sync.Mutex
	current leases.Lease
	made    time.Time
	// held are the snapshots that were prepared under the current lease and not
	// removed since.
	held map[string]struct{}
}

// makeLease makes a lease of this value's, which expires.
//
// Once asked for, its answer is awaited whatever becomes of the context: a call that
// is cancelled may make the lease all the same, and later than one that follows
// to delete it. What a failure may have left is deleted as far as that can be.
func (p *Provider) makeLease(ctx context.Context, id string, lasts time.Duration) (leases.Lease, error) {
	if done := ended(ctx); done != nil {
		return leases.Lease{}, done
	}
	through, cancel := outlive.Context(ctx, answerTime)
	defer cancel()
	manager := p.client.LeasesService()
	lease, err := manager.Create(through, leases.WithID(id), leases.WithExpiration(lasts), leases.WithLabels(p.ownerLabels()))
	if err != nil {
		undo := func(ctx context.Context) error { return manager.Delete(ctx, leases.Lease{ID: id}) }
		if undone := undo(through); undone != nil && !errdefs.IsNotFound(undone) {
			p.owe(undo)
		}
	}
	return lease, err
}

// lease returns a context under whose lease things can be made. Containerd keeps
// them until something refers to them, or the lease has expired. With an error
// it is the context as it was.
func (p *Provider) lease(ctx context.Context) (context.Context, error) {
	k := &p.leases
	if id := k.valid(); id != "" {
		return leases.WithLease(ctx, id), nil
	}
	pass, err := k.renewal.Take(ctx, "")
	if err != nil {
		return ctx, ended(ctx)
	}
	defer pass()
	id := k.valid()
	if id == "" {
		// The one before goes by itself: something may still be made under it.
		made := time.Now()
		l, err := p.makeLease(ctx, "univirt-"+resource.NewID(), leaseTime)
		if err != nil {
			return ctx, err
		}
		k.renew(l, made)
		id = l.ID
	}
	return leases.WithLease(ctx, id), nil
}

// valid returns the lease that holds long enough for a use that begins now, or "".
func (k *leaseKeeper) valid() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.made) > leaseTime-leaseReserve {
		return ""
	}
	return k.current.ID
}

// renew puts a lease in the place of the one before.
func (k *leaseKeeper) renew(l leases.Lease, made time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.current, k.made, k.held = l, made, make(map[string]struct{})
}

// hold notes that a snapshot is under the current lease.
func (k *leaseKeeper) hold(snapshot string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held[snapshot] = struct{}{}
}

// drop notes that a snapshot is gone.
func (k *leaseKeeper) drop(snapshot string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.held, snapshot)
}

// pin sees to it that a snapshot is under this value's lease, and returns the
// lease's context as lease does.
func (p *Provider) pin(ctx context.Context, snapshot string) (context.Context, error) {
	ctx, err := p.lease(ctx)
	if err != nil {
		return ctx, err
	}
	k := &p.leases
	k.mu.Lock()
	lease := k.current
	_, held := k.held[snapshot]
	k.mu.Unlock()
	if held {
		return ctx, nil
	}
	err = p.client.LeasesService().AddResource(ctx, lease, leases.Resource{ID: snapshot, Type: "snapshots/" + p.snapshotter})
	if err == nil {
		k.hold(snapshot)
	}
	return ctx, err
}

// release gives the lease back at Close, when nobody makes anything any more.
func (k *leaseKeeper) release(ctx context.Context, p *Provider) error {
	k.mu.Lock()
	lease := k.current
	k.current = leases.Lease{}
	k.mu.Unlock()
	if lease.ID == "" {
		return nil
	}
	err := translate(ctx, p.client.LeasesService().Delete(ctx, lease))
	if errdefs.IsNotFound(err) || errdefs.IsUnavailable(err) {
		return nil // it has an end of its own
	}
	return err
}
