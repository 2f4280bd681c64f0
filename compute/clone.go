package compute

import (
	"context"

	"github.com/univirt/univirt/resource"
)

// Cloner is an instance of which copies can be made.
type Cloner interface {
	Instance
	// Clone makes an instance with a copy of the root disk, under another name,
	// with its own identity, addresses and MACs. The copy is Stopped. A name that is
	// taken is AlreadyExists, a snapshot that is not there NotFound, and neither leaves
	// anything behind. A cancelled Clone returns after its undo.
	Clone(ctx context.Context, opts CloneOptions) (Instance, error)
}

// CloneOptions say what the copy is.
type CloneOptions struct {
	// Name is required: the copy's name.
	Name string
	// Snapshot names a snapshot to copy instead of the present content.
	Snapshot string
	// Labels replace the original's, if not nil.
	Labels resource.Labels
}

// Validate reports every fault of the options.
func (o CloneOptions) Validate() resource.Faults {
	var f resource.Faults
	f.AddReason("name", resource.CheckName(o.Name))
	if o.Snapshot != "" {
		f.AddReason("snapshot", resource.CheckName(o.Snapshot))
	}
	f.Under("labels", o.Labels.Validate())
	return f
}

// Clone makes a copy of an instance; errors.ErrUnsupported where that cannot be.
func Clone(ctx context.Context, inst Instance, opts CloneOptions) (Instance, error) {
	c, err := extension[Cloner](inst, "clone")
	if err != nil {
		return nil, err
	}
	return c.Clone(ctx, opts)
}
