package containerd

import (
	"context"
	"errors"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/univirt/univirt/resource"
)

// named is a name and what it is to stand for.
type named struct {
	name   string
	target ocispec.Descriptor
}

// name gives images their names, all or, as far as the daemon can be reached,
// none. It is the last step of bringing an image and not cut short by the
// caller's context: what it did would stand although the operation failed.
func (s *imageStore) name(ctx context.Context, all []named) error {
	ctx, cancel := s.p.cleanup(ctx)
	defer cancel()
	var undo []func() error
	for _, n := range all {
		take, err := s.nameOne(ctx, n)
		if err != nil {
			for _, f := range undo {
				err = errors.Join(err, f())
			}
			err = translate(ctx, err)
			if errdefs.IsUnavailable(err) {
				// The daemon may have done it before it was lost.
				return &resource.Error{Kind: errdefs.ErrUnavailable, Err: err, Outcome: resource.OutcomeUnknown}
			}
			return err
		}
		undo = append(undo, take)
	}
	return nil
}

// nameOne makes or changes one record, and returns how to take that back.
func (s *imageStore) nameOne(ctx context.Context, n named) (undo func() error, err error) {
	store := s.records()
	record := images.Image{Name: n.name, Target: n.target}
	for {
		before, err := store.Get(ctx, n.name)
		switch {
		case err == nil && before.Target.Digest == n.target.Digest:
			return func() error { return nil }, nil
		case err == nil:
			_, err = store.Update(ctx, record, "target")
			if errdefs.IsNotFound(err) {
				continue // somebody deleted it meanwhile
			}
			return func() error {
				_, err := store.Update(ctx, before, "target")
				return err
			}, err
		case !errdefs.IsNotFound(err):
			return nil, err
		}
		_, err = store.Create(ctx, record)
		if errdefs.IsAlreadyExists(err) {
			continue // somebody made it meanwhile
		}
		return func() error { return store.Delete(ctx, n.name) }, err
	}
}
