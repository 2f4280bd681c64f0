package fake

import (
	"slices"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

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
		return err
	}
	for _, m := range mounts {
		m.hold(i)
	}
	return nil
}

// newMount finds what a mount shows, and whether the instance may have it. The
// backend is locked.
func (i *instance) newMount(spec compute.Mount) (*mount, error) {
	m := &mount{spec: spec}
	if spec.Type != compute.MountVolume && spec.Type != compute.MountDevice {
		return m, nil
	}
	v, ok := i.space.volumes.find(spec.Source)
	if !ok || v.making {
		return nil, fieldError("source", errdefs.ErrNotFound, "there is no volume %s", resource.Quote(spec.Source))
	}
	if (spec.Type == compute.MountDevice) != (v.spec.Mode == storage.Block) {
		return nil, fieldError("type", errdefs.ErrInvalidArgument, "must not be %q: the volume's mode is %q", spec.Type, v.spec.Mode)
	}
	switch v.spec.Access {
	case storage.ReadWriteOnce:
		for _, other := range v.users {
			if other != i {
				return nil, fieldError("source", errdefs.ErrFailedPrecondition,
					"the volume %q is for one instance at a time, and %s has it", v.name, other.ref().Label())
			}
		}
	case storage.ReadOnlyMany:
		if !spec.ReadOnly {
			return nil, fieldError("readOnly", errdefs.ErrFailedPrecondition, "must be true: nobody writes to the volume %q", v.name)
		}
	}
	m.volume = v
	return m, nil
}

// hold marks the mount's volume as used by the instance. The backend is locked.
func (m *mount) hold(i *instance) {
	if m.volume != nil && !slices.Contains(m.volume.users, i) {
		m.volume.users = append(m.volume.users, i)
	}
}

// letGo is the undo of hold, unless another mount of the instance shows the volume
// too. The mount is none of the instance's any more. The backend is locked.
func (m *mount) letGo(i *instance) {
	if m.volume == nil || slices.ContainsFunc(i.parts.mounts, func(other *mount) bool { return other.volume == m.volume }) {
		return
	}
	m.volume.users = slices.DeleteFunc(m.volume.users, func(other *instance) bool { return other == i })
}

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
	mounts := i.parts.mounts
	i.parts.mounts = nil
	for _, m := range mounts {
		m.letGo(i)
	}
}
