package fake

import (
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

var (
	volumeFeatures resource.Features
	volumeFields   resource.FieldTable
)

// volume is the record of a volume.
type volume struct {
	object
}

var _ stored = (*volume)(nil)

func (p *Provider) volumesAccessor() storage.Volumes { return storage.Absent("not yet") }

// attachVolumes resolves the spec's mounts and marks their volumes as used. It is
// part of Create: where it fails it has done nothing. The backend is locked.
func (i *instance) attachVolumes() error { return nil }

// detachVolumes is the undo of attachVolumes, and part of Delete. The backend is
// locked.
func (i *instance) detachVolumes() {}

// removeVolume takes a volume away, or says why it cannot. The backend is locked.
func (s *space) removeVolume(v *volume) error { return nil }

// dump writes what Dump says of a volume, on one line or several.
func (v *volume) dump(d *dumper) {}
