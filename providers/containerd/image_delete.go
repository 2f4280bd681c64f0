package containerd

import (
	"context"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/outlive"
	"github.com/univirt/univirt/resource"
)

// Delete removes a name, and the image's content before it returns where that
// was the last. Instances keep an image by its ID: while one uses it, the last
// name stays, whichever the instance was made with. One that is made at the same
// time may not be seen, see the package's documentation.
func (s *imageStore) Delete(ctx context.Context, nameOrID string, opts compute.DeleteImageOptions) error {
	// All images of the namespace are ours, so that there is nothing to force.
	_ = opts
	return resource.Fail("delete", s.asked(nameOrID), s.delete(ctx, nameOrID))
}

func (s *imageStore) delete(ctx context.Context, nameOrID string) error {
	ctx, done, err := s.p.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	ctx = outlive.WithEffects(ctx)
	return outlive.EffectsOf(ctx).Sure(s.deleteNames(ctx, nameOrID))
}

func (s *imageStore) deleteNames(ctx context.Context, nameOrID string) error {
	name, record, err := s.find(ctx, nameOrID)
	if err != nil {
		return translate(ctx, err)
	}
	same, err := s.sameTarget(ctx, record.Target.Digest)
	if err != nil {
		return translate(ctx, err)
	}
	names := []string{name}
	if isImageID(nameOrID) {
		names = names[:0]
		for _, record := range same {
			names = append(names, record.Name)
		}
	}
	if len(names) >= len(same) {
		if err := s.checkUnused(ctx, record.Target.Digest); err != nil {
			return translate(ctx, err)
		}
	}
	for i, name := range names {
		var how []images.DeleteOpt
		if i == len(names)-1 {
			how = append(how, images.SynchronousDelete())
		}
		err := s.records().Delete(ctx, name, how...)
		if err != nil && !(errdefs.IsNotFound(err) && len(names) > 1) {
			return translate(ctx, err)
		}
	}
	return nil
}

// checkUnused finds the instances that were made of an image, in one call.
func (s *imageStore) checkUnused(ctx context.Context, id digest.Digest) error {
	users, err := s.p.containers(ctx, byLabel(labelImage, id.String()))
	if err != nil || len(users) == 0 {
		return err
	}
	first := users[0].Labels[labelName]
	if first == "" {
		first = users[0].ID
	}
	if more := len(users) - 1; more > 0 {
		return resource.Errorf(errdefs.ErrFailedPrecondition, "is in use by instance %q and %d more", first, more)
	}
	return resource.Errorf(errdefs.ErrFailedPrecondition, "is in use by instance %q", first)
}
