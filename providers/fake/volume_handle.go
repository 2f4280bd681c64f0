package fake

import (
	"context"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// volumeHandle is a handle on a volume.
type volumeHandle struct {
	volumes
	id string
}

var (
	_ storage.Volume  = (*volumeHandle)(nil)
	_ storage.Resizer = (*volumeHandle)(nil)
)

// ID returns the volume's identity.
func (h *volumeHandle) ID() string { return h.id }

// Info reads the volume.
func (h *volumeHandle) Info(ctx context.Context) (info storage.Info, err error) {
	err = h.with(ctx, OpVolumeInfo, h.id, "", nil, func(v *volume) error {
		info = v.info()
		return nil
	})
	return info, err
}

// Update changes labels and annotations.
func (h *volumeHandle) Update(ctx context.Context, change storage.Change) error {
	check := func() error { return change.Validate().Err() }
	return h.with(ctx, OpUpdateVolume, h.id, change.IfRevision, check, func(v *volume) error {
		if !v.managed {
			return errForeignVolume
		}
		spec := v.spec.Clone()
		spec.Labels = change.Labels.Apply(v.labels)
		spec.Annotations = resource.Annotations(change.Annotations.Apply(resource.Labels(v.annotations)))
		if err := spec.Validate().Err(); err != nil {
			return err
		}
		if len(resource.Diff(*v.spec, spec)) == 0 {
			return nil
		}
		v.spec = &spec
		h.changed(v, spec.Labels, spec.Annotations)
		return nil
	})
}

// Delete removes the volume. One that has snapshots stays, as one in use does.
func (h *volumeHandle) Delete(ctx context.Context, opts storage.DeleteOptions) error {
	return h.with(ctx, OpDeleteVolume, h.id, opts.IfRevision, nil, func(v *volume) error {
		switch {
		case !v.managed && !opts.Force:
			return errForeignVolume
		case len(v.users) == 0 && len(v.snapshots) > 0:
			return &resource.Error{Kind: errdefs.ErrFailedPrecondition, Err: errSnapshots}
		}
		return h.p.space.removeVolume(v)
	})
}

// Resize sets the capacity, also while the volume is in use.
func (h *volumeHandle) Resize(ctx context.Context, size int64, opts storage.ResizeOptions) error {
	check := func() error {
		var faults resource.Faults
		if size <= 0 || size > maxContent {
			faults.Add("size", "must be from 1 to %s, is %d", resource.FormatSize(maxContent), size)
		}
		return faults.Err()
	}
	return h.with(ctx, OpResizeVolume, h.id, opts.IfRevision, check, func(v *volume) error {
		if !v.managed {
			return errForeignVolume
		}
		if size == v.spec.Size {
			return nil
		}
		b := h.p.backend
		b.files.Lock()
		defer b.files.Unlock()
		if err := v.resize(size, opts.Shrink); err != nil {
			return err
		}
		spec := v.spec.Clone()
		spec.Size = size
		v.spec = &spec
		h.changed(v, v.labels, v.annotations)
		return nil
	})
}

// resize sets the capacity. The backend and the files are locked.
func (v *volume) resize(size int64, shrink bool) error {
	used, block := v.fs.quota.used.Load(), v.spec.Mode == storage.Block
	if block {
		used = v.fs.root.content.end()
	}
	smaller := v.spec.Size > 0 && size < v.spec.Size
	switch {
	case smaller && shrink && v.still() != nil:
		return v.still()
	case smaller && !shrink:
		return fieldError("size", errdefs.ErrFailedPrecondition, "is less than the present %s", resource.FormatSize(v.spec.Size))
	case size < used:
		return fieldError("size", errdefs.ErrFailedPrecondition, "is less than the %s that are in use", resource.FormatSize(used))
	}
	// A volume without a size has had its bytes counted one by one.
	had := v.spec.Size
	if had == 0 {
		had = v.fs.quota.used.Load()
	}
	if size > had {
		if !v.pool.quota.take(size - had) {
			return v.pool.full("size")
		}
	} else {
		v.pool.quota.give(had - size)
	}
	v.fs.quota.from = nil
	v.fs.quota.limit.Store(size)
	if block {
		return v.fs.root.content.truncate(size, v.fs.quota)
	}
	return nil
}
