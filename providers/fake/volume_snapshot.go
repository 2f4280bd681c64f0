package fake

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// volumeSnapshot is kept content of a volume. It is counted by the pool.
type volumeSnapshot struct {
	info storage.SnapshotInfo
	fs   *filesystem
}

var _ storage.Snapshotter = (*volumeHandle)(nil)

// snapshot finds a snapshot by its name, or returns nil. The backend is locked.
func (v *volume) snapshot(name string) *volumeSnapshot {
	for _, s := range v.snapshots {
		if s.info.Ref.Name == name {
			return s
		}
	}
	return nil
}

// CreateSnapshot keeps the present content.
func (h *volumeHandle) CreateSnapshot(ctx context.Context, spec storage.SnapshotSpec) (info storage.SnapshotInfo, err error) {
	check := func() error { return spec.Validate().Err() }
	err = h.with(ctx, OpCreateVolumeSnapshot, h.id, "", check, func(v *volume) error {
		if v.snapshot(spec.Name) != nil {
			return fieldError("name", errdefs.ErrAlreadyExists, "a snapshot of this name exists")
		}
		b := h.p.backend
		b.files.Lock()
		defer b.files.Unlock()
		q := &quota{from: &v.pool.quota}
		root := v.fs.root.copyTree()
		if !root.charge(q) {
			return v.pool.full("")
		}
		s := &volumeSnapshot{fs: newFilesystem(root, q), info: storage.SnapshotInfo{
			Ref: resource.Ref{
				Provider: Scheme, Kind: resource.KindSnapshot, Namespace: v.space.name, Name: spec.Name,
				ID: b.newID(resource.KindSnapshot, v.id, spec.Name),
			},
			Labels:  resource.Clone(spec.Labels),
			Created: time.Now(),
			Used:    q.used.Load(),
		}}
		v.snapshots = append(slices.Clip(v.snapshots), s)
		info = s.info
		return nil
	})
	return info, err
}

// Snapshots yields the volume's snapshots, the oldest first.
func (h *volumeHandle) Snapshots(ctx context.Context) iter.Seq2[storage.SnapshotInfo, error] {
	return func(yield func(storage.SnapshotInfo, error) bool) {
		var all []*volumeSnapshot
		err := h.with(ctx, OpListVolumeSnapshots, h.id, "", nil, func(v *volume) error {
			all = v.snapshots
			return nil
		})
		for n := 0; n < len(all) && err == nil; n++ {
			if err = h.fail(OpListVolumeSnapshots, h.refOf(h.id), h.p.open(ctx)); err == nil && !yield(all[n].info, nil) {
				return
			}
		}
		if err != nil {
			yield(storage.SnapshotInfo{}, err)
		}
	}
}

// RevertSnapshot sets the content back.
func (h *volumeHandle) RevertSnapshot(ctx context.Context, name string) error {
	return h.with(ctx, OpRevertVolumeSnapshot, h.id, "", nil, func(v *volume) error {
		s := v.snapshot(name)
		if s == nil {
			return noSnapshot(name)
		}
		if err := v.still(); err != nil {
			return err
		}
		b := h.p.backend
		b.files.Lock()
		defer b.files.Unlock()
		root := s.fs.root.copyTree()
		if v.spec.Mode == storage.Block {
			// The volume may have another size by now.
			if err := root.content.truncate(v.spec.Size, nil); err != nil {
				return err
			}
		}
		return v.refill(root)
	})
}

// refill replaces the content by a tree, which must be a copy that is not counted.
// The backend and the files are locked.
func (v *volume) refill(root *node) error {
	var held int64
	root.each(func(n *node) {
		if n.content != nil {
			held += n.content.held()
		}
	})
	if held > saturated(v.fs.quota.room(), v.fs.quota.used.Load()) {
		return errNoSpace
	}
	if v.spec.Mode == storage.Block {
		v.fs.root.content.release(v.fs.quota)
		v.fs.root.content = root.content
	} else {
		v.fs.replace(root)
	}
	if !v.fs.root.charge(v.fs.quota) {
		// Another volume of the pool was faster: this one is empty rather than
		// half filled.
		v.fs.root.children = map[string]*node{}
		return errNoSpace
	}
	return nil
}

// DeleteSnapshot removes a snapshot. Clones of it are copies, and need it no more.
func (h *volumeHandle) DeleteSnapshot(ctx context.Context, name string) error {
	return h.with(ctx, OpDeleteVolumeSnapshot, h.id, "", nil, func(v *volume) error {
		n := slices.IndexFunc(v.snapshots, func(s *volumeSnapshot) bool { return s.info.Ref.Name == name })
		if n < 0 {
			return noSnapshot(name)
		}
		b := h.p.backend
		b.files.Lock()
		defer b.files.Unlock()
		s := v.snapshots[n]
		s.fs.root.forget(s.fs.quota)
		v.snapshots = slices.Delete(slices.Clone(v.snapshots), n, n+1)
		return nil
	})
}
