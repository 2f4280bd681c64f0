package storage

import (
	"fmt"

	"github.com/univirt/univirt/resource"
)

// Mode says what a volume is to the instance that uses it.
type Mode string

// The modes of a volume.
const (
	// Filesystem volumes are trees of files.
	Filesystem Mode = "filesystem"
	// Block volumes are devices of a fixed size.
	Block Mode = "block"
)

// AccessMode says how many instances may use a volume at once.
type AccessMode string

// The access modes.
const (
	// ReadWriteOnce volumes are used by one instance at a time.
	ReadWriteOnce AccessMode = "read-write-once"
	// ReadOnlyMany volumes are used by many instances, none of which writes.
	ReadOnlyMany AccessMode = "read-only-many"
	// ReadWriteMany volumes are used by many instances, all of which may write.
	ReadWriteMany AccessMode = "read-write-many"
)

// Spec says what volume is wanted. A provider refuses every field that is not
// zero and that it does not honour.
type Spec struct {
	// Name is required: a DNS label of at most 63 bytes, unique among the
	// namespace's volumes, immutable.
	Name string `json:"name"`
	// Pool is the pool to take the volume from; empty means the provider's
	// default pool. Immutable.
	Pool string `json:"pool,omitempty"`
	// Mode is Filesystem (the default) or Block. Immutable.
	Mode Mode `json:"mode,omitempty"`
	// Size is the capacity in bytes. Required for Block; 0 for Filesystem means
	// no bound but the pool's, or one that the provider chooses and Info.Capacity
	// tells. Changed by Resize.
	Size int64 `json:"size,omitempty"`
	// Access is ReadWriteOnce by default. Immutable.
	Access AccessMode `json:"access,omitempty"`
	// Source fills the new volume; the zero value leaves it empty. Immutable.
	Source Source `json:"source,omitzero"`
	// Format is the filesystem to make, or the image format of a Block volume,
	// such as "ext4" or "qcow2"; empty lets the provider choose. Immutable.
	Format string `json:"format,omitempty"`
	// UID and GID own the root of a new Filesystem volume; 0 is root.
	UID int `json:"uid,omitempty"`
	GID int `json:"gid,omitempty"`

	// Lifetime is Persistent by default.
	Lifetime    resource.Lifetime    `json:"lifetime,omitzero"`
	Labels      resource.Labels      `json:"labels,omitempty"`
	Annotations resource.Annotations `json:"annotations,omitempty"`
}

// Source says what a new volume is filled with: nothing where it is the zero value, a
// volume's content, or that of one of its snapshots. A stream is imported after the
// creation, see [Import].
type Source struct {
	// Volume is the ID or name of a volume to clone.
	Volume string `json:"volume,omitempty"`
	// Snapshot is the name of a snapshot of that volume, which is named then too; empty
	// means the volume as it is.
	Snapshot string `json:"snapshot,omitempty"`
}

// Clone returns a deep copy of the spec.
func (s Spec) Clone() Spec { return resource.Clone(s) }

// Validate reports every fault of the spec, each with its field's path.
func (s Spec) Validate() resource.Faults {
	var faults resource.Faults
	faults.AddReason("name", resource.CheckName(s.Name))
	if s.Pool != "" {
		faults.AddReason("pool", resource.CheckName(s.Pool))
	}
	switch s.Mode {
	case "", Filesystem:
	case Block:
		if s.Size == 0 && s.Source == (Source{}) {
			faults.Add("size", "is required for a block volume")
		}
	default:
		faults.Add("mode", "must be %q or %q", Filesystem, Block)
	}
	switch s.Access {
	case "", ReadWriteOnce, ReadOnlyMany, ReadWriteMany:
	default:
		faults.Add("access", "must be %q, %q or %q", ReadWriteOnce, ReadOnlyMany, ReadWriteMany)
	}
	faults.AddReason("size", checkSize(s.Size))
	faults.AddReason("uid", checkID(s.UID))
	faults.AddReason("gid", checkID(s.GID))
	if s.Source.Snapshot != "" {
		if s.Source.Volume == "" {
			faults.Add("source.snapshot", "needs source.volume")
		}
		faults.AddReason("source.snapshot", resource.CheckName(s.Source.Snapshot))
	}
	if v := s.Source.Volume; v != "" && !resource.IsID(v) {
		faults.AddReason("source.volume", resource.CheckName(v))
	}
	if f := s.Format; f != "" && resource.CheckName(f) != "" {
		faults.Add("format", "must consist of a-z, 0-9 and '-'")
	}
	faults.Under("lifetime", s.Lifetime.Validate())
	faults.Under("labels", s.Labels.Validate())
	faults.Under("annotations", s.Annotations.Validate())
	return faults
}

const (
	// maxSize is far beyond any disk: a larger number is a mistake.
	maxSize = 1 << 60
	// maxID is the largest user or group ID of Linux but one; the largest
	// means "none".
	maxID int64 = 1<<32 - 2
)

func checkID(id int) string {
	if id < 0 || int64(id) > maxID {
		return fmt.Sprintf("must be from 0 to %d, is %d", maxID, id)
	}
	return ""
}

func checkSize(size int64) string {
	if size < 0 || size > maxSize {
		return fmt.Sprintf("must be from 0 to %s, is %d", resource.FormatSize(maxSize), size)
	}
	return ""
}

// Encode writes the canonical form of the spec: versioned JSON, equal bytes for
// equal specs.
func Encode(spec Spec) ([]byte, error) { return resource.MarshalSpec(resource.KindVolume, spec) }

// Decode reads the canonical form of a spec. It does not validate the spec.
func Decode(data []byte) (Spec, error) {
	var spec Spec
	err := resource.UnmarshalSpec(data, resource.KindVolume, &spec)
	return spec, err
}
