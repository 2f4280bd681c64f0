package storage

import (
	"context"
	"errors"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/resource"
)

// Ensure returns the volume of the spec's name, and creates it where there is
// none. Labels and annotations of an existing one are updated to the spec's,
// and a larger size is reached by Resize; where it differs in a field that
// cannot be changed, the error is FailedPrecondition and names the field.
// Running it twice, or from two processes at once, does no harm.
func Ensure(ctx context.Context, volumes Volumes, spec Spec) (Volume, error) {
	v, err := volumes.Create(ctx, spec)
	if !errdefs.IsAlreadyExists(err) {
		return v, err
	}
	v, err = volumes.Get(ctx, spec.Name)
	if err != nil {
		return nil, err
	}
	for range ensureAttempts {
		err = converge(ctx, v, spec)
		if !errdefs.IsAborted(err) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return v, nil
}

// ensureAttempts is how often Ensure compares again where somebody else changed
// the volume between its reading and its writing.
const ensureAttempts = 10

// converge brings what can be changed of an existing volume to the spec's.
func converge(ctx context.Context, v Volume, spec Spec) error {
	info, err := v.Info(ctx)
	if err != nil {
		return err
	}
	fail := func(field string, cause error) error {
		return &resource.Error{Op: "ensure", Ref: info.Ref, Kind: errdefs.ErrFailedPrecondition, Field: field, Err: cause}
	}
	if info.Spec == nil {
		return fail("", errors.New("exists and was not made by this library"))
	}
	change := Change{IfRevision: info.Revision}
	grow := false
	for _, field := range resource.Unmet(*info.Spec, spec) {
		switch {
		case field == "labels":
			change.Labels = resource.PatchTo(info.Labels, spec.Labels)
		case field == "annotations":
			change.Annotations = resource.PatchTo(resource.Labels(info.Annotations), resource.Labels(spec.Annotations))
		case field == "size" && spec.Size > info.Spec.Size:
			grow = true
		default:
			return fail(field, errors.New("differs from what exists and cannot be changed"))
		}
	}
	if change.Labels != nil || change.Annotations != nil {
		if err := v.Update(ctx, change); err != nil {
			return err
		}
	}
	if grow {
		return Resize(ctx, v, spec.Size, ResizeOptions{})
	}
	return nil
}
