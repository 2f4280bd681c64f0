package storage

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/univirt/univirt/resource"
)

// Volumes are the volumes of one provider and namespace.
//
// All methods of Volumes and Volume may be called concurrently, see the package's
// documentation. A context that is done before a call has no effect at the backend.
// Errors are *resource.Error or a context's error.
type Volumes interface {
	// Create makes a volume. Faults of the spec are InvalidArgument, all at once,
	// and come before a field that the provider does not know, which is
	// errors.ErrUnsupported and named. A name that exists is AlreadyExists; a pool
	// that is not there is NotFound and named, as are a volume and a snapshot to
	// clone; a pool without room is ResourceExhausted. A volume in use may be cloned:
	// the clone has what is on it at that time, without what a running instance has
	// not written to it so far. A cancelled Create returns after its undo.
	Create(ctx context.Context, spec Spec) (Volume, error)
	// Get returns the volume of an ID or a name; NotFound if there is none.
	Get(ctx context.Context, idOrName string) (Volume, error)
	// Handle returns the volume of an ID without any call to the backend. If
	// there is no such volume, the handle's methods say NotFound.
	Handle(id string) Volume
	// List yields the volumes that match, in no particular order. Each range
	// starts anew; an error is yielded once, last.
	List(ctx context.Context, filter Filter) iter.Seq2[Info, error]
}

// Volume is a handle on one volume, bound to its ID: after a delete and a
// create of the same name it says NotFound.
type Volume interface {
	// ID returns the volume's identity. It makes no call.
	ID() string
	// Info reads the volume. A volume that is gone is NotFound.
	Info(ctx context.Context) (Info, error)
	// Update changes labels and annotations. All faults are found before
	// anything is changed.
	Update(ctx context.Context, change Change) error
	// Delete removes the volume and what is in it. A volume in use, or one that
	// a snapshot or clone needs, is FailedPrecondition and stays: in use is what an
	// instance has, running or not. A volume that is gone is NotFound.
	Delete(ctx context.Context, opts DeleteOptions) error
}

// DeleteOptions are the options of a volume's Delete. The zero value deletes a
// managed volume that nothing uses.
type DeleteOptions struct {
	// Force also deletes a volume that this library did not make. A volume in
	// use stays in use: Force does not change that.
	Force bool
	// IfRevision, if not empty, makes the call Aborted where the volume has
	// changed since.
	IfRevision string
}

// Change says what to change of a volume. Nil and empty fields change nothing.
type Change struct {
	Labels      resource.LabelPatch `json:"labels,omitempty"`
	Annotations resource.LabelPatch `json:"annotations,omitempty"`
	// IfRevision, if not empty, makes the call Aborted where the volume has
	// changed since.
	IfRevision string `json:"ifRevision,omitempty"`
}

// Validate reports every fault of the change.
func (c Change) Validate() resource.Faults {
	var faults resource.Faults
	faults.Under("labels", c.Labels.Validate())
	faults.Under("annotations", c.Annotations.ValidateKeys())
	return faults
}

// Info is what is known of a volume. Maps, lists and what pointers point to
// are shared and must not be changed.
type Info struct {
	Ref resource.Ref
	// Managed is false for a volume that this library did not make.
	Managed bool
	Owner   resource.Owner
	// Spec is the volume's spec with the provider's choices filled in; nil
	// where the volume is not managed.
	Spec *Spec
	// Pool is the pool that holds the volume.
	Pool string
	// Mode is the volume's mode.
	Mode Mode
	// Capacity is the size in bytes that may be used; 0 means no bound but the
	// pool's.
	Capacity int64
	// Used is the number of bytes that the volume occupies in its pool, and
	// UsedKnown whether the backend could say.
	Used      int64
	UsedKnown bool
	// UsedBy lists the instances that have the volume attached, running or not.
	UsedBy []resource.Ref
	// Path is the volume's place on the local host, or empty where it has none
	// or the host is another one.
	Path string

	Labels      resource.Labels
	Annotations resource.Annotations
	Created     time.Time
	// Revision changes with every change of the volume.
	Revision string
}

// Filter says which volumes List yields: those that meet every field that is
// not zero. The zero value yields all managed ones.
type Filter struct {
	// Names and IDs limit to those listed.
	Names []string
	IDs   []string
	// Pools limits to volumes of these pools.
	Pools []string
	// Selector chooses by labels.
	Selector resource.Selector
	// Unmanaged also yields volumes that this library did not make.
	Unmanaged bool
}

// Validate reports every fault of the filter.
func (f Filter) Validate() resource.Faults {
	var faults resource.Faults
	faults.Under("selector", f.Selector.Validate())
	return faults
}

// Matches reports whether the filter lets a volume through.
func (f Filter) Matches(info Info) bool {
	return (info.Managed || f.Unmanaged) &&
		(len(f.Names) == 0 || slices.Contains(f.Names, info.Ref.Name)) &&
		(len(f.IDs) == 0 || slices.Contains(f.IDs, info.Ref.ID)) &&
		(len(f.Pools) == 0 || slices.Contains(f.Pools, info.Pool)) &&
		f.Selector.Matches(info.Labels)
}
