package libvirt

import (
	"cmp"
	"encoding/json"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// The formats of a volume: that of its filesystem, and those of a disk.
const (
	formatExt4  = "ext4"
	formatRaw   = "raw"
	formatQcow2 = "qcow2"
)

// noShared says why not everything can be shared.
const noShared = "a filesystem on a disk is of one machine at a time; block volumes can be shared"

// VolumeFields says what the provider does with each field of a storage.Spec.
func VolumeFields() resource.FieldTable {
	return resource.FieldTable{}.Honored(resource.FieldPaths(storage.Spec{})...)
}

// VolumeFeatures says what the provider offers for volumes.
func VolumeFeatures() resource.Features {
	yes := resource.Support{Supported: true}
	return resource.Features{
		storage.FeatureVolumes:    yes,
		storage.FeatureFilesystem: {Supported: true, Reason: "where mke2fs is installed on this host"},
		storage.FeatureBlock:      yes,
		storage.FeatureQuota:      yes,
		storage.FeatureShared:     {Reason: noShared},
		storage.FeatureUsage:      yes,
		storage.FeatureResize:     yes,
		storage.FeatureSnapshot:   yes,
		storage.FeatureClone:      yes,
		storage.FeatureTransfer:   {Supported: true, Reason: "into a filesystem where mke2fs is installed and this program is root"},
		storage.FeaturePools:      yes,
	}
}

// volumes describes what a hypervisor offers for volumes.
func (h hypervisor) volumes() univirt.ResourceDescription {
	if h.virtType == "test" {
		return univirt.ResourceDescription{Features: resource.Features{storage.FeatureVolumes: {Reason: onlyReal}}}
	}
	return univirt.ResourceDescription{Features: VolumeFeatures(), Fields: VolumeFields()}
}

// minFilesystem is the least that a filesystem is made of.
const minFilesystem = 256 * resource.KiB

// checkVolume finds every fault of a spec that shows without the backend.
func checkVolume(spec storage.Spec) error {
	faults := spec.Validate()
	block := spec.Mode == storage.Block
	if block && (spec.UID != 0 || spec.GID != 0) {
		faults.Add("uid", "must be 0, as gid: a block volume has no root folder")
	}
	if !block && spec.Size > 0 && spec.Size < minFilesystem {
		faults.Add("size", "must be at least %s for a filesystem", resource.FormatSize(minFilesystem))
	}
	if err := faults.Err(); err != nil {
		return err
	}
	if err := VolumeFields().Refuse(spec); err != nil {
		return err
	}
	return refuseVolume(spec)
}

// refuseVolume refuses what no field can be refused for alone.
func refuseVolume(spec storage.Spec) error {
	field, reason := "", ""
	switch format := spec.Format; {
	case spec.Mode == "" && spec.Source != (storage.Source{}):
		// It is the source's.
	case spec.Mode == storage.Block && format != "" && format != formatRaw && format != formatQcow2:
		field, reason = "format", "a block volume is raw or qcow2"
	case spec.Mode != storage.Block && format != "" && format != formatExt4:
		field, reason = "format", "the filesystem is ext4"
	case spec.Access == storage.ReadWriteMany && (spec.Mode != storage.Block || format == formatQcow2):
		field, reason = "access", noShared+", as long as they are raw"
	}
	if field == "" {
		return nil
	}
	return &resource.Error{Kind: resource.KindOf(resource.Unsupported("", "")), Field: field, Err: resource.Unsupported(field, reason)}
}

// volumeFacts are what the record of a volume holds.
type volumeFacts struct {
	document
	spec storage.Spec
	volumeMore
}

// volumeMore is what is kept of a volume beside its spec.
type volumeMore struct {
	// Disk is the format of its file, raw or qcow2.
	Disk string `json:"disk"`
	// Snapshots are its snapshots, the oldest first.
	Snapshots []volumeSnapshot `json:"snapshots,omitempty"`
	// Refill is the file of the pool that the content is being replaced by; empty
	// means by nothing.
	Refill string `json:"refill,omitempty"`
}

// volumeSnapshot is a snapshot of a volume: a copy of its file.
type volumeSnapshot struct {
	ID      string          `json:"id"`
	Name    string          `json:"name"`
	Labels  resource.Labels `json:"labels,omitempty"`
	Created time.Time       `json:"created"`
	Size    int64           `json:"size"`
	// Disk is the format of its file.
	Disk string `json:"disk"`
}

// readVolume reads what a document holds.
func readVolume(d document) (volumeFacts, error) {
	if d.fault != nil {
		return volumeFacts{document: d}, d.fault
	}
	v := volumeFacts{document: d}
	var err error
	if v.spec, err = storage.Decode(d.Spec); err == nil {
		err = json.Unmarshal(d.More, &v.volumeMore)
	}
	if err != nil {
		return v, resource.Errorf(errdefs.ErrDataLoss, "the record of volume %s cannot be read: %w", d.ID, err)
	}
	return v, nil
}

// written returns the document with everything that is known.
func (v volumeFacts) written() (document, error) {
	d := v.document
	var err error
	if d.Spec, err = storage.Encode(v.spec); err == nil {
		d.More, err = json.Marshal(v.volumeMore)
	}
	return d, err
}

// file is the name of the volume's file in its pool.
func (v volumeFacts) file() string { return v.ID + "." + v.Disk }

// fileOf is the name of a snapshot's file.
func (v volumeFacts) fileOf(s volumeSnapshot) string { return v.ID + "." + s.ID + "." + s.Disk }

// snapshotFormat is that of a snapshot's file. Libvirt reads every hole of a raw file
// that it copies into another, which takes long where there is no bound.
func (v volumeFacts) snapshotFormat() string {
	if v.bounded() {
		return v.Disk
	}
	return formatQcow2
}

// snapshot finds a snapshot by its name.
func (v volumeFacts) snapshot(name string) (volumeSnapshot, bool) {
	for _, s := range v.Snapshots {
		if s.Name == name {
			return s, true
		}
	}
	return volumeSnapshot{}, false
}

// bounded reports whether the volume has the room of its size for itself. One that
// has no size, or is qcow2, takes what is written to it.
func (v volumeFacts) bounded() bool { return v.spec.Size > 0 && v.Disk == formatRaw }

// withVolumeChoices returns the spec with what the provider chooses.
func withVolumeChoices(spec storage.Spec, pool string) storage.Spec {
	spec = spec.Clone()
	spec.Pool = pool
	spec.Mode = cmp.Or(spec.Mode, storage.Filesystem)
	spec.Access = cmp.Or(spec.Access, storage.ReadWriteOnce)
	if spec.Mode == storage.Block {
		spec.Format = cmp.Or(spec.Format, formatRaw)
	} else {
		spec.Format = formatExt4
	}
	return spec
}

// diskFormat is the format of the file of a volume.
func diskFormat(spec storage.Spec) string {
	if spec.Mode == storage.Block {
		return spec.Format
	}
	return formatRaw
}

// formatOf is the format of a mode's streams.
func formatOf(mode storage.Mode) storage.Format {
	if mode == storage.Block {
		return storage.Raw
	}
	return storage.Tar
}
