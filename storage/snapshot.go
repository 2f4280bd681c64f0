package storage

import (
	"context"
	"iter"
	"time"

	"github.com/univirt/univirt/resource"
)

// Snapshotter is a volume of which snapshots can be taken.
type Snapshotter interface {
	Volume
	// CreateSnapshot keeps the present content under a name that is unique
	// among the volume's snapshots; AlreadyExists otherwise. The volume may be in
	// use: what a running instance has not written to it so far is not kept.
	CreateSnapshot(ctx context.Context, spec SnapshotSpec) (SnapshotInfo, error)
	// Snapshots yields the volume's snapshots, the oldest first.
	Snapshots(ctx context.Context) iter.Seq2[SnapshotInfo, error]
	// RevertSnapshot sets the content back. NotFound for an unknown name; else
	// FailedPrecondition while the volume is in use by a running instance.
	RevertSnapshot(ctx context.Context, name string) error
	// DeleteSnapshot removes a snapshot, never the volume's content. NotFound for an
	// unknown name; FailedPrecondition while a clone needs it.
	DeleteSnapshot(ctx context.Context, name string) error
}

// SnapshotSpec says what snapshot is wanted. Its canonical form is what
// resource.MarshalSpec writes for the kind resource.KindSnapshot.
type SnapshotSpec struct {
	// Name is required: a DNS label.
	Name   string          `json:"name"`
	Labels resource.Labels `json:"labels,omitempty"`
}

// Validate reports every fault of the spec.
func (s SnapshotSpec) Validate() resource.Faults {
	var faults resource.Faults
	faults.AddReason("name", resource.CheckName(s.Name))
	faults.Under("labels", s.Labels.Validate())
	return faults
}

// SnapshotInfo is what is known of a volume's snapshot.
type SnapshotInfo struct {
	// Ref has the kind snapshot.
	Ref     resource.Ref
	Labels  resource.Labels
	Created time.Time
	// Used is the number of bytes that only the snapshot occupies, or -1 where
	// that is not known.
	Used int64
}

// Snapshots finds the volume's Snapshotter; errors.ErrUnsupported where it has
// none.
func Snapshots(v Volume) (Snapshotter, error) {
	if s, ok := resource.As[Snapshotter](v); ok {
		return s, nil
	}
	return nil, resource.Fail("snapshot", volumeRef(v), resource.Unsupported("snapshot", ""))
}
