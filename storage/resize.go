package storage

import (
	"context"

	"github.com/univirt/univirt/resource"
)

// Resizer is a volume whose capacity can be changed.
type Resizer interface {
	Volume
	// Resize sets the capacity in bytes. To the present size is nil; one that is not
	// positive is InvalidArgument and names "size". Smaller is FailedPrecondition
	// unless the options allow it and nothing is lost. A volume grows also while it is
	// in use, and does not shrink while a running instance has it, which is
	// FailedPrecondition too.
	Resize(ctx context.Context, size int64, opts ResizeOptions) error
}

// ResizeOptions are the options of Resize. The zero value only grows.
type ResizeOptions struct {
	// Shrink allows a smaller size.
	Shrink bool
	// IfRevision, if not empty, makes the call Aborted where the volume has
	// changed since.
	IfRevision string
}

// Resize sets a volume's capacity; errors.ErrUnsupported where it cannot.
func Resize(ctx context.Context, v Volume, size int64, opts ResizeOptions) error {
	if reason := checkSize(size); reason != "" || size == 0 {
		if reason == "" {
			reason = "must not be 0"
		}
		return resource.Fail("resize", volumeRef(v), resource.Faults{{Field: "size", Reason: reason}})
	}
	r, ok := resource.As[Resizer](v)
	if !ok {
		return resource.Fail("resize", volumeRef(v), resource.Unsupported("resize", ""))
	}
	return r.Resize(ctx, size, opts)
}

func volumeRef(v Volume) resource.Ref {
	return resource.Ref{Kind: resource.KindVolume, ID: v.ID()}
}
