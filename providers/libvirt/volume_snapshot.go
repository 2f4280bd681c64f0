//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

var _ storage.Snapshotter = (*volume)(nil)

// info tells of a snapshot.
func (v volumeFacts) snapshotInfo(s volumeSnapshot, used int64) storage.SnapshotInfo {
	ref := v.ref()
	ref.Kind, ref.Name, ref.ID = resource.KindSnapshot, s.Name, s.ID
	return storage.SnapshotInfo{Ref: ref, Labels: s.Labels, Created: s.Created, Used: used}
}

// CreateSnapshot implements storage.Snapshotter. A snapshot is a copy; of a volume
// that a machine runs with it has what is on the disk at the time of the call.
func (v *volume) CreateSnapshot(ctx context.Context, spec storage.SnapshotSpec) (storage.SnapshotInfo, error) {
	var info storage.SnapshotInfo
	err := v.change(ctx, "create snapshot", func(ctx context.Context, facts volumeFacts) (err error) {
		info, err = v.snapshot(ctx, facts, spec)
		return err
	}, func() error { return spec.Validate().Err() })
	if err != nil {
		return storage.SnapshotInfo{}, err
	}
	return info, nil
}

func (v *volume) snapshot(ctx context.Context, facts volumeFacts, spec storage.SnapshotSpec) (storage.SnapshotInfo, error) {
	taken := func(facts *volumeFacts) error {
		if _, ok := facts.snapshot(spec.Name); ok {
			return &resource.Error{Kind: errdefs.ErrAlreadyExists, Field: "name", Err: errors.New("is taken by another snapshot of the volume")}
		}
		return nil
	}
	if err := taken(&facts); err != nil {
		return storage.SnapshotInfo{}, err
	}
	from := content{source: facts.spec.Pool, from: facts.file()}
	var err error
	if from.live, err = v.p.running(ctx, v.id); err == nil {
		from.size, err = v.p.sizeOf(ctx, from.source, from.from)
	}
	if err == nil {
		err = givenUp(ctx)
	}
	if err != nil {
		return storage.SnapshotInfo{}, err
	}
	made := volumeSnapshot{ID: resource.NewID(), Name: spec.Name, Labels: resource.Clone(spec.Labels), Created: time.Now().UTC(), Size: from.size, Disk: facts.snapshotFormat()}
	file := facts.fileOf(made)
	err = v.p.copyTo(ctx, facts.spec.Pool, describeDisk(file, made.Disk, from.size, false), from)
	if err == nil {
		facts, err = v.amend(ctx, func(now *volumeFacts) error {
			if err := taken(now); err != nil {
				return err
			}
			now.Snapshots = append(slices.Clip(now.Snapshots), made)
			return nil
		})
	}
	if err != nil {
		clean, cancel := v.p.cleanup(ctx)
		defer cancel()
		if v.p.removeFile(clean, facts.spec.Pool, file) != nil {
			pool := facts.spec.Pool
			v.p.later(ctx, func(ctx context.Context) bool { return v.p.removeFile(ctx, pool, file) == nil })
		}
		return storage.SnapshotInfo{}, err
	}
	return facts.snapshotInfo(made, v.p.usedBy(ctx, facts.spec.Pool, file)), nil
}

// usedBy is how many bytes a file occupies, -1 where that is not known.
func (p *Provider) usedBy(ctx context.Context, pool, file string) int64 {
	used, err := onVolume(ctx, p, pool, file, func(_ *lv.Connect, v *lv.StorageVol) (int64, error) {
		info, err := v.GetInfo()
		if err != nil {
			return 0, err
		}
		return int64(info.Allocation), nil
	})
	if err != nil {
		return -1
	}
	return used
}

// Snapshots implements storage.Snapshotter.
func (v *volume) Snapshots(ctx context.Context) iter.Seq2[storage.SnapshotInfo, error] {
	return func(yield func(storage.SnapshotInfo, error) bool) {
		infos, err := v.snapshotInfos(ctx)
		for i := 0; err == nil && i < len(infos); i++ {
			if err = v.open(ctx); err == nil && !yield(infos[i], nil) {
				return
			}
		}
		if err != nil {
			yield(storage.SnapshotInfo{}, v.fail("list snapshots", err))
		}
	}
}

func (v *volume) snapshotInfos(ctx context.Context) ([]storage.SnapshotInfo, error) {
	ctx, done, err := v.p.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	facts, err := v.load(ctx)
	if err != nil {
		return nil, err
	}
	var infos []storage.SnapshotInfo
	for _, s := range facts.Snapshots {
		infos = append(infos, facts.snapshotInfo(s, v.p.usedBy(ctx, facts.spec.Pool, facts.fileOf(s))))
	}
	return infos, nil
}

func noSnapshot(name string) error {
	return resource.Errorf(errdefs.ErrNotFound, "the volume has no snapshot %s", resource.Quote(name))
}

// RevertSnapshot implements storage.Snapshotter. Where it does not end, whoever uses
// the volume next sees it through.
func (v *volume) RevertSnapshot(ctx context.Context, name string) error {
	return v.change(ctx, "revert snapshot", func(ctx context.Context, facts volumeFacts) error {
		s, ok := facts.snapshot(name)
		if !ok {
			return noSnapshot(name)
		}
		if err := v.p.still(ctx, v.id); err != nil {
			return err
		}
		if err := givenUp(ctx); err != nil {
			return err
		}
		_, err := v.replace(ctx, facts, facts.fileOf(s))
		return err
	})
}

// replace replaces the content of an idle volume by that of a file of its pool, or by
// nothing.
func (v *volume) replace(ctx context.Context, facts volumeFacts, by string) (volumeFacts, error) {
	facts.Refill = by
	d, err := facts.written()
	if err != nil {
		return facts, err
	}
	d = d.begun(filling, v.p.owner.Generation, makingTime)
	d.Home = v.p.home
	if facts.document, err = v.records().revise(ctx, d); err != nil {
		return facts, err
	}
	return v.refill(ctx, facts)
}

// DeleteSnapshot implements storage.Snapshotter. Clones are copies, and need none.
func (v *volume) DeleteSnapshot(ctx context.Context, name string) error {
	return v.change(ctx, "delete snapshot", func(ctx context.Context, facts volumeFacts) error {
		s, ok := facts.snapshot(name)
		if !ok {
			return noSnapshot(name)
		}
		facts, err := v.amend(ctx, func(now *volumeFacts) error {
			now.Snapshots = slices.DeleteFunc(slices.Clone(now.Snapshots), func(other volumeSnapshot) bool { return other.ID == s.ID })
			return nil
		})
		if err != nil {
			return err
		}
		return v.p.removeFile(ctx, facts.spec.Pool, facts.fileOf(s))
	})
}
