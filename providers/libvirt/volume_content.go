//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	lv "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// describeDisk describes the file of a volume, or of one of its snapshots. What is
// bounded has all of its room from the beginning.
func describeDisk(name, format string, size int64, bounded bool) libvirtxml.StorageVolume {
	d := rawFile(name, size)
	d.Target.Format.Type = format
	if !bounded {
		d.Allocation.Value = 0
	}
	if format == formatQcow2 {
		d.Target.Compat = "1.1"
	}
	return d
}

// mostUnasked is how much a filesystem has room for where nobody says: a larger one
// takes its guest longer to mount.
const mostUnasked = 16 * resource.GiB

// capacityOf is how much a volume's file holds: where the spec does not say, as much as
// the pool could, up to a bound.
func capacityOf(spec storage.Spec, pool poolFacts) int64 {
	if spec.Size > 0 {
		return spec.Size
	}
	return min(max(pool.capacity&^(resource.MiB-1), resource.MiB), mostUnasked)
}

// makeEmpty makes the file of a volume with nothing in it: zeros, or a filesystem.
func (p *Provider) makeEmpty(ctx context.Context, v volumeFacts, pool poolFacts) error {
	size := capacityOf(v.spec, pool)
	var image *os.File
	if v.spec.Mode == storage.Filesystem {
		var err error
		if image, err = makeFilesystem(ctx, size, v.spec.UID, v.spec.GID, ""); err != nil {
			return err
		}
		defer image.Close()
	}
	if err := p.makeRoom(ctx, v.spec.Pool, describeDisk(v.file(), v.Disk, size, v.bounded())); err != nil || image == nil {
		return err
	}
	parts, stop := partsOf(ctx, image)
	defer stop()
	_, err := p.fillFrom(ctx, v.spec.Pool, v.file(), parts, size)
	return err
}

// makeRoom makes a file of a pool.
func (p *Provider) makeRoom(ctx context.Context, pool string, description libvirtxml.StorageVolume) error {
	if err := changes(ctx); err != nil {
		return err
	}
	_, err := onPool(ctx, p, pool, func(_ *lv.Connect, pool *lv.StoragePool) (struct{}, error) {
		made, err := makeFile(pool, description, nil)
		if err != nil {
			return struct{}{}, err
		}
		return struct{}{}, made.Free()
	})
	return err
}

// copyDisk makes the file of a volume with the content of another file: by libvirt,
// or by the machine that has it as a disk and runs.
func (p *Provider) copyDisk(ctx context.Context, v volumeFacts, from content) (err error) {
	to := describeDisk(v.file(), v.Disk, from.size, v.bounded())
	if from.live.disk != "" || v.Disk != formatRaw || v.bounded() || strings.HasSuffix(from.from, "."+formatQcow2) {
		return p.copyTo(ctx, v.spec.Pool, to, from)
	}
	// Not from raw to raw, as of a snapshot.
	between := v.ID + "." + resource.NewID() + copySuffix
	defer func() {
		clean, cancel := p.cleanup(ctx)
		defer cancel()
		err = errors.Join(err, p.removeFile(clean, v.spec.Pool, between))
	}()
	if err := p.copyTo(ctx, v.spec.Pool, describeDisk(between, formatQcow2, from.size, false), from); err != nil {
		return err
	}
	return p.copyTo(ctx, v.spec.Pool, to, content{source: v.spec.Pool, from: between, size: from.size})
}

func (p *Provider) copyTo(ctx context.Context, pool string, to libvirtxml.StorageVolume, from content) error {
	if from.live.disk != "" {
		return p.copyLive(ctx, pool, to, from)
	}
	if err := changes(ctx); err != nil {
		return err
	}
	_, err := transfer(ctx, p, func(_ context.Context, c *lv.Connect) (struct{}, error) {
		source, err := lookupFile(c, from.source, from.from)
		if err != nil {
			return struct{}{}, err
		}
		defer source.Free()
		target, err := c.LookupStoragePoolByName(pool)
		if err != nil {
			return struct{}{}, err
		}
		defer target.Free()
		made, err := makeFile(target, to, source)
		if err != nil {
			return struct{}{}, err
		}
		return struct{}{}, made.Free()
	})
	return err
}

// refill replaces the content of a volume that is said to be filled, by what its
// record names. It may be done again where somebody did not live to finish it.
func (v *volume) refill(ctx context.Context, facts volumeFacts) (volumeFacts, error) {
	pool, err := v.p.pool(ctx, facts.spec.Pool)
	if err != nil {
		return facts, err
	}
	files, err := v.p.filesIn(ctx, pool.name)
	if err != nil {
		return facts, err
	}
	if facts.Refill != "" && !slices.Contains(files, facts.Refill) {
		return facts, resource.Errorf(errdefs.ErrDataLoss, "the file %s that the volume's content was to be replaced by is gone", facts.Refill)
	}
	if err := v.p.removeFile(ctx, pool.name, facts.file()); err != nil {
		return facts, err
	}
	if facts.Refill == "" {
		err = v.p.makeEmpty(ctx, facts, pool)
	} else {
		from := content{pool: pool, source: pool.name, from: facts.Refill, size: capacityOf(facts.spec, pool)}
		if have, sizeErr := v.p.sizeOf(ctx, pool.name, facts.Refill); sizeErr == nil {
			from.size = have
		}
		err = v.p.copyDisk(ctx, facts, from)
		if err == nil && from.size < facts.spec.Size {
			err = v.p.enlarge(ctx, facts, facts.spec.Size)
		}
	}
	if err != nil {
		return facts, err
	}
	facts.document, err = v.records().revise(ctx, facts.ended())
	if err == nil && strings.HasSuffix(facts.Refill, importSuffix) {
		// Nothing but this needed it; what is left of it a sweep takes.
		if left := v.p.removeFile(ctx, pool.name, facts.Refill); left != nil {
			v.p.opts.Logger.Warn("the file that a volume was imported from is left", "volume", v.id, "file", facts.Refill, "error", left)
		}
	}
	return facts, err
}
