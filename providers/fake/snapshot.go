package fake

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// snapshot is a kept state of an instance. The backend's lock guards it.
type snapshot struct {
	info compute.SnapshotInfo
	// root is a copy of the root filesystem, which nobody changes.
	root *node
	// paused says that the instance was, where memory is kept.
	paused bool
}

var _ compute.Snapshotter = (*handle)(nil)

// withOpened is alter with the instance's files laid out. Neither the backend nor
// the files are locked when they are.
func (h *handle) withOpened(ctx context.Context, op Op, effect func(i *instance) error) error {
	if err := h.p.open(ctx); err != nil {
		return h.fail(op, err)
	}
	h.p.backend.mu.Lock()
	i, err := h.find(op)
	h.p.backend.mu.Unlock()
	if err == nil {
		_, err = i.opened()
	}
	if err != nil {
		return h.fail(op, err)
	}
	return h.alter(ctx, op, effect)
}

// settled refuses what has no content that could be kept or changed.
func (i *instance) settled() error {
	switch i.state {
	case compute.Stopped, compute.Running, compute.Paused, compute.Suspended:
		return nil
	}
	return resource.Errorf(errdefs.ErrFailedPrecondition, "the instance is %s", i.state)
}

// CreateSnapshot keeps the root disk. Of the memory only that there was one can be
// kept: a Go function cannot be copied in the middle, so a revert starts it anew.
func (h *handle) CreateSnapshot(ctx context.Context, spec compute.SnapshotSpec) (compute.SnapshotInfo, error) {
	if err := spec.Validate().Err(); err != nil {
		if closed := h.p.open(ctx); closed != nil {
			err = closed
		}
		return compute.SnapshotInfo{}, h.fail(OpCreateSnapshot, err)
	}
	var info compute.SnapshotInfo
	err := h.withOpened(ctx, OpCreateSnapshot, func(i *instance) error {
		if err := i.settled(); err != nil {
			return err
		}
		if err := without(i.features(), compute.FeatureSnapshotMemory, "memory", spec.Memory); err != nil {
			return err
		}
		if spec.Memory && i.state != compute.Running && i.state != compute.Paused {
			return &resource.Error{Kind: errdefs.ErrFailedPrecondition, Field: "memory",
				Err: errors.New("an instance that does not run has no memory to keep")}
		}
		if i.snapshot(spec.Name) != nil {
			return &resource.Error{Kind: errdefs.ErrAlreadyExists, Field: "name",
				Err: errors.New("a snapshot of this name exists")}
		}
		b := h.p.backend
		b.files.Lock()
		root := i.parts.files.root.root.copyTree()
		b.files.Unlock()
		s := &snapshot{root: root, paused: i.state == compute.Paused}
		s.info = compute.SnapshotInfo{
			Ref: resource.Ref{
				Provider: Scheme, Kind: resource.KindSnapshot, Namespace: i.space.name, Name: spec.Name,
				ID: b.newID(resource.KindSnapshot, i.id, spec.Name),
			},
			Memory:  spec.Memory,
			Parent:  i.parts.head,
			Labels:  resource.Clone(spec.Labels),
			Created: time.Now(),
			Used:    -1,
		}
		i.parts.snapshots = append(slices.Clip(i.parts.snapshots), s)
		i.parts.head = spec.Name
		info = s.info
		return nil
	})
	return info, err
}

// snapshot finds a snapshot by its name, or returns nil. The backend is locked.
func (i *instance) snapshot(name string) *snapshot {
	if i.parts == nil {
		return nil
	}
	for _, s := range i.parts.snapshots {
		if s.info.Ref.Name == name {
			return s
		}
	}
	return nil
}

func noSnapshot(name string) error {
	return resource.Errorf(errdefs.ErrNotFound, "there is no snapshot %s", resource.Quote(name))
}

// Snapshots yields the instance's snapshots, the oldest first.
func (h *handle) Snapshots(ctx context.Context) iter.Seq2[compute.SnapshotInfo, error] {
	return func(yield func(compute.SnapshotInfo, error) bool) {
		var all []compute.SnapshotInfo
		err := h.look(ctx, OpListSnapshots, func(i *instance) error {
			if i.parts != nil {
				for _, s := range i.parts.snapshots {
					all = append(all, s.info)
				}
			}
			return nil
		})
		for _, info := range all {
			if err == nil {
				err = h.fail(OpListSnapshots, h.p.open(ctx))
			}
			if err != nil {
				break
			}
			if !yield(info, nil) {
				return
			}
		}
		if err != nil {
			yield(compute.SnapshotInfo{}, err)
		}
	}
}

// RevertSnapshot sets the instance back.
func (h *handle) RevertSnapshot(ctx context.Context, name string, opts compute.RevertOptions) error {
	return h.withOpened(ctx, OpRevertSnapshot, func(i *instance) error {
		s := i.snapshot(name)
		if s == nil {
			return noSnapshot(name)
		}
		if err := i.settled(); err != nil {
			return err
		}
		if i.state != compute.Stopped && !opts.Force {
			return resource.Errorf(errdefs.ErrFailedPrecondition, "the instance is %s", i.state)
		}
		p := h.p
		before := i.state
		if err := p.endRun(ctx, i, compute.Stopping); err != nil {
			if i.state == compute.Stopping {
				i.state = before
			}
			return err
		}
		b := p.backend
		b.files.Lock()
		i.parts.files.root.replace(s.root.copyTree())
		b.files.Unlock()
		i.parts.head = name
		if !s.info.Memory {
			return nil
		}
		c, err := b.commandOf(i.image, i.spec.Process, nil)
		if err == nil {
			err = p.begin(i, c)
		}
		if err == nil && s.paused {
			i.run.freeze()
			i.state = compute.Paused
			i.space.emit(i, resource.EventChanged, resource.ReasonPause)
		}
		return err
	})
}

// DeleteSnapshot removes a snapshot. Those that were taken on top of it stand on
// what it stood on.
func (h *handle) DeleteSnapshot(ctx context.Context, name string) error {
	return h.alter(ctx, OpDeleteSnapshot, func(i *instance) error {
		s := i.snapshot(name)
		if s == nil {
			return noSnapshot(name)
		}
		var left []*snapshot
		for _, other := range i.parts.snapshots {
			if other == s {
				continue
			}
			if other.info.Parent == name {
				again := *other
				again.info.Parent = s.info.Parent
				other = &again
			}
			left = append(left, other)
		}
		i.parts.snapshots = left
		if i.parts.head == name {
			i.parts.head = s.info.Parent
		}
		return nil
	})
}
