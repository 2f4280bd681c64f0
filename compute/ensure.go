package compute

import (
	"context"
	"errors"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/resource"
)

// Ensure returns the instance of the spec's name, and creates it where there is
// none. What Update can change of an existing one is changed to the spec's;
// where it differs in another field, the error is FailedPrecondition and names
// the field: replacing an instance is the caller's decision. A field that is
// zero in the spec is left as it is. Running it twice, or from two processes at
// once, does no harm. Ensure does not start the instance; Start is nil where it
// runs.
func Ensure(ctx context.Context, instances Instances, spec Spec) (Instance, error) {
	inst, err := instances.Create(ctx, spec)
	if !errdefs.IsAlreadyExists(err) {
		return inst, err
	}
	clash := err
	inst, err = instances.Get(ctx, spec.Name)
	if errdefs.IsNotFound(err) {
		// It was not the name that existed, but an address.
		return nil, clash
	}
	if err != nil {
		return nil, err
	}
	for range ensureAttempts {
		err = converge(ctx, inst, spec)
		if !errdefs.IsAborted(err) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return inst, nil
}

// ensureAttempts is how often Ensure compares again where somebody else changed
// the instance between its reading and its writing.
const ensureAttempts = 10

// converge brings what can be changed of an existing instance to the spec's.
func converge(ctx context.Context, inst Instance, spec Spec) error {
	info, err := inst.Info(ctx)
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
	needed := false
	for _, field := range resource.Unmet(*info.Spec, spec) {
		top, _, _ := strings.Cut(field, ".")
		switch top {
		case "image", "pull":
			// A name is resolved once; what it means by now is no difference.
			if field == "image" && !sameImage(info, spec.Image) {
				return fail(field, errors.New("differs from what exists and cannot be changed"))
			}
			continue
		case "resources":
			resources := resource.Overlay(info.Spec.Resources, spec.Resources)
			change.Resources = &resources
		case "restart":
			restart := resource.Overlay(info.Spec.Restart, spec.Restart)
			change.Restart = &restart
		case "stopGrace":
			change.StopGrace = &spec.StopGrace
		case "labels":
			change.Labels = resource.PatchTo(info.Labels, spec.Labels)
		case "annotations":
			change.Annotations = resource.PatchTo(resource.Labels(info.Annotations), resource.Labels(spec.Annotations))
		default:
			return fail(field, errors.New("differs from what exists and cannot be changed"))
		}
		needed = true
	}
	if !needed {
		return nil
	}
	return inst.Update(ctx, change)
}

func sameImage(info Info, name string) bool {
	if name == info.Image.Name || name == info.Image.ID {
		return true
	}
	a, errA := ParseImageReference(name)
	b, errB := ParseImageReference(info.Image.Name)
	return errA == nil && errB == nil && a == b
}

// EnsureImage returns the image of a name or ID, and pulls it where it is not
// there. An ID cannot be pulled: it is NotFound then.
func EnsureImage(ctx context.Context, images Images, ref string, opts PullOptions) (Image, error) {
	image, err := images.Get(ctx, ref)
	if !errdefs.IsNotFound(err) || isDigest(ref) {
		return image, err
	}
	return images.Pull(ctx, ref, opts)
}
