package fake

import (
	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
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
	fs *filesystem
}

var _ stored = (*volume)(nil)

func (p *Provider) volumesAccessor() storage.Volumes { return storage.Absent("not yet") }

// attachVolumes resolves the spec's mounts and marks their volumes as used. Where
// the spec has files or mounts they are laid out, so that their faults are
// Create's. It is part of Create: where it fails it has done nothing. The backend
// is locked.
func (i *instance) attachVolumes() error {
	if len(i.spec.Mounts)+len(i.spec.Files) == 0 {
		return nil
	}
	var mounts []*mount
	for k, spec := range i.spec.Mounts {
		m, err := i.newMount(spec)
		if err != nil {
			return underField(at("mounts", k), err)
		}
		mounts = append(mounts, m)
	}
	i.more().mounts = mounts
	// It has been unpacked before.
	image, err := i.image.files()
	if err == nil {
		err = i.layOut(image)
	}
	if err != nil {
		i.parts.mounts = nil
	}
	return err
}

// newMount finds what a mount shows. The backend is locked.
func (i *instance) newMount(spec compute.Mount) (*mount, error) {
	m := &mount{spec: spec}
	if spec.Type != compute.MountVolume && spec.Type != compute.MountDevice {
		return m, nil
	}
	v, ok := i.space.volumes.find(spec.Source)
	if !ok || v.making {
		return nil, fieldError("source", errdefs.ErrNotFound, "there is no volume %s", resource.Quote(spec.Source))
	}
	m.volume = v
	return m, nil
}

// use takes a mount's volume into use by a run, or says why that cannot be. The
// backend is locked.
func (m *mount) use(i *instance) error { return nil }

// detachVolumes is the undo of attachVolumes, and part of Delete. It does nothing
// where nothing is attached. The backend is locked.
func (i *instance) detachVolumes() {
	if i.parts == nil {
		return
	}
	b := i.space.backend
	b.files.Lock()
	i.dropFiles()
	b.files.Unlock()
	i.parts.mounts = nil
}

// removeVolume takes a volume away, or says why it cannot. The backend is locked.
func (s *space) removeVolume(v *volume) error { return nil }

// dump writes what Dump says of a volume, on one line or several.
func (v *volume) dump(d *dumper) {}
