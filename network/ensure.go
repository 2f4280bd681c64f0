package network

import (
	"context"
	"errors"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/resource"
)

// Ensure returns the network of the spec's name, and creates it where there is
// none. Labels and annotations of an existing one are updated to the spec's;
// where it differs in a field that cannot be changed, the error is
// FailedPrecondition and names the field. Running it twice, or from two
// processes at once, does no harm.
func Ensure(ctx context.Context, networks Networks, spec Spec) (Network, error) {
	n, err := networks.Create(ctx, spec)
	if !errdefs.IsAlreadyExists(err) {
		return n, err
	}
	clash := err
	n, err = networks.Get(ctx, spec.Name)
	if errdefs.IsNotFound(err) {
		// It was not the name that existed, but a subnet.
		return nil, clash
	}
	if err != nil {
		return nil, err
	}
	for range ensureAttempts {
		err = converge(ctx, n, spec)
		if !errdefs.IsAborted(err) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return n, nil
}

// ensureAttempts is how often Ensure compares again where somebody else changed
// the network between its reading and its writing.
const ensureAttempts = 10

// converge brings what can be changed of an existing network to the spec's.
func converge(ctx context.Context, n Network, spec Spec) error {
	info, err := n.Info(ctx)
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
	for _, field := range resource.Unmet(*info.Spec, spec) {
		switch field {
		case "labels":
			change.Labels = resource.PatchTo(info.Labels, spec.Labels)
		case "annotations":
			change.Annotations = resource.PatchTo(resource.Labels(info.Annotations), resource.Labels(spec.Annotations))
		default:
			return fail(field, errors.New("differs from what exists and cannot be changed"))
		}
	}
	if change.Labels == nil && change.Annotations == nil {
		return nil
	}
	return n.Update(ctx, change)
}
