package containerd

import (
	"context"
	"errors"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/resource"
)

// bringTime is how long bringing one image may take, and so how long containerd
// keeps what a process left that died over it, unless it is swept before.
const bringTime = 12 * time.Hour

// imageLease begins the ID of a lease under which one image is brought.
const imageLease = "univirt-image-"

// unreferenced says what becomes of content that nothing refers to after a
// success: it is kept until the daemon next collects by itself, or collected at
// once.
type unreferenced bool

const (
	keep    unreferenced = false
	collect unreferenced = true
)

// underLease calls f with a context under whose lease content can be made that
// nothing refers to yet. Where f fails, all that it made is gone when underLease
// returns, but for what others refer to.
//
// The lease is not the provider's: that one keeps what it has until it expires.
func (s *imageStore) underLease(ctx context.Context, rest unreferenced, f func(context.Context) error) error {
	id := imageLease + resource.NewID()
	defer s.p.making.begin(id)()
	lease, err := s.p.makeLease(ctx, id, bringTime)
	if err != nil {
		return err
	}
	err = f(leases.WithLease(ctx, lease.ID))
	clean, cancel := s.p.cleanup(ctx)
	defer cancel()
	var how []leases.DeleteOpt
	if err != nil || rest == collect {
		how = append(how, leases.SynchronousDelete)
	}
	undone := s.p.client.LeasesService().Delete(clean, lease, how...)
	if err == nil || undone == nil || errdefs.IsNotFound(undone) {
		// An image that is there is there, even if its lease is left to expire.
		return err
	}
	s.p.owe(func(ctx context.Context) error {
		return s.p.client.LeasesService().Delete(ctx, lease, leases.SynchronousDelete)
	})
	var own *resource.Error
	out := &resource.Error{Kind: resource.KindOf(err), Err: err}
	if errors.As(err, &own) {
		copied := *own
		out = &copied
	}
	out.Left = append(out.Left, s.p.ref("lease", "", lease.ID))
	return out
}
