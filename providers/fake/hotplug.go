package fake

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

var _ compute.VolumeAttacher = (*handle)(nil)

// AttachVolume adds a mount, which programs that run see at once.
func (h *handle) AttachVolume(ctx context.Context, spec compute.Mount) error {
	if err := h.p.open(ctx); err != nil {
		return h.fail(OpAttachVolume, err)
	}
	if err := checkMount(spec); err != nil {
		return h.fail(OpAttachVolume, err)
	}
	return h.withOpened(ctx, OpAttachVolume, func(i *instance) error {
		if err := i.settled(); err != nil {
			return err
		}
		for _, m := range i.parts.mounts {
			if path.Clean(m.spec.Path) == path.Clean(spec.Path) {
				return &resource.Error{Kind: errdefs.ErrAlreadyExists, Field: "path",
					Err: fmt.Errorf("something is mounted at %s", resource.Quote(spec.Path))}
			}
		}
		m, err := i.newMount(spec)
		if err != nil {
			return err
		}
		b := h.p.backend
		b.files.Lock()
		err = i.putUpOne(m)
		b.files.Unlock()
		if err != nil {
			return err
		}
		i.parts.mounts = append(slices.Clip(i.parts.mounts), m)
		m.hold(i)
		i.remount()
		return nil
	})
}

// checkMount finds what is wrong with a mount as a spec's would be.
func checkMount(m compute.Mount) error {
	var faults resource.Faults
	for _, f := range (compute.Spec{Name: "x", Mounts: []compute.Mount{m}}).Validate() {
		if rest, ok := strings.CutPrefix(f.Field, "mounts[0]."); ok {
			faults = append(faults, resource.Fault{Field: rest, Reason: f.Reason})
		}
	}
	return faults.Err()
}

// remount makes the mounts part of the spec. The backend is locked.
func (i *instance) remount() {
	spec := i.spec.Clone()
	spec.Mounts = nil
	for _, m := range i.parts.mounts {
		spec.Mounts = append(spec.Mounts, m.spec)
	}
	i.respec(&spec)
}

// respec replaces the spec by one with other mounts or networks. The backend is
// locked.
func (i *instance) respec(spec *compute.Spec) {
	i.spec = spec
	i.labels, i.annotations = spec.Labels, spec.Annotations
	i.revision++
	i.space.emit(i, resource.EventChanged, resource.ReasonUpdate)
}

// DetachVolume removes a mount. One in which programs have files open stays.
func (h *handle) DetachVolume(ctx context.Context, at string) error {
	return h.withOpened(ctx, OpDetachVolume, func(i *instance) error {
		if err := i.settled(); err != nil {
			return err
		}
		n := slices.IndexFunc(i.parts.mounts, func(m *mount) bool { return path.Clean(m.spec.Path) == path.Clean(at) })
		if n < 0 {
			return resource.Errorf(errdefs.ErrNotFound, "nothing is mounted at %s", resource.Quote(at))
		}
		m := i.parts.mounts[n]
		b := h.p.backend
		b.files.Lock()
		defer b.files.Unlock()
		if m.at != nil && m.at.open > 0 {
			return resource.Errorf(errdefs.ErrFailedPrecondition, "%d files of the mount are open", m.at.open)
		}
		for place := range i.parts.files.view.over {
			if place.at == m.at {
				return resource.Errorf(errdefs.ErrFailedPrecondition, "something else is mounted below %s", resource.Quote(at))
			}
		}
		i.takeDown(m)
		i.parts.mounts = slices.Delete(slices.Clone(i.parts.mounts), n, n+1)
		m.letGo(i)
		i.remount()
		return nil
	})
}
