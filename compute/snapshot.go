package compute

import (
	"context"
	"iter"
	"time"

	"github.com/univirt/univirt/resource"
)

// Snapshotter is an instance of which snapshots can be taken.
type Snapshotter interface {
	Instance
	// CreateSnapshot keeps the root disk, and the memory where asked, under a
	// name that is unique among the instance's snapshots; AlreadyExists otherwise.
	CreateSnapshot(ctx context.Context, spec SnapshotSpec) (SnapshotInfo, error)
	// Snapshots yields the instance's snapshots, the oldest first.
	Snapshots(ctx context.Context) iter.Seq2[SnapshotInfo, error]
	// RevertSnapshot sets the instance back. To one with memory the instance is
	// Running or Paused afterwards, as it was, otherwise Stopped. A running
	// instance is FailedPrecondition unless forced. NotFound for an unknown name.
	RevertSnapshot(ctx context.Context, name string, opts RevertOptions) error
	// DeleteSnapshot removes a snapshot, never the instance's present content nor
	// that of another snapshot. NotFound for an unknown name, so also the second time.
	DeleteSnapshot(ctx context.Context, name string) error
}

// SnapshotSpec says what snapshot is wanted. Its canonical form is what
// resource.MarshalSpec writes for the kind resource.KindSnapshot.
type SnapshotSpec struct {
	// Name is required: a DNS label.
	Name string `json:"name"`
	// Memory also keeps the memory of a running instance.
	Memory bool            `json:"memory,omitempty"`
	Labels resource.Labels `json:"labels,omitempty"`
}

// Validate reports every fault of the spec.
func (s SnapshotSpec) Validate() resource.Faults {
	var f resource.Faults
	f.AddReason("name", resource.CheckName(s.Name))
	f.Under("labels", s.Labels.Validate())
	return f
}

// SnapshotInfo is what is known of an instance's snapshot.
type SnapshotInfo struct {
	// Ref has the kind snapshot.
	Ref    resource.Ref
	Memory bool
	// Parent is the name of the snapshot that it was taken on top of, or empty.
	Parent  string
	Labels  resource.Labels
	Created time.Time
	// Used is the number of bytes that it occupies, or -1 where not known.
	Used int64
}

// RevertOptions are the options of RevertSnapshot.
type RevertOptions struct {
	// Force ends the run of a running instance.
	Force bool
}

// Snapshots finds the instance's Snapshotter; errors.ErrUnsupported where it
// has none.
func Snapshots(inst Instance) (Snapshotter, error) {
	return extension[Snapshotter](inst, "snapshot")
}
