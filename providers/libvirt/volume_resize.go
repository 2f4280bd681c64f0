//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"io"
	"os"
	"strconv"

	"github.com/containerd/errdefs"
	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

var _ storage.Resizer = (*volume)(nil)

// Resize implements storage.Resizer. Machines that run see a larger disk at once. The
// filesystem of a volume that none of them has follows where the hypervisor is this
// host; in others the guest sees to it.
func (v *volume) Resize(ctx context.Context, size int64, opts storage.ResizeOptions) error {
	return v.change(ctx, "resize", func(ctx context.Context, facts volumeFacts) error {
		if err := facts.checkRevision(opts.IfRevision); err != nil {
			return err
		}
		if facts.spec.Mode == storage.Filesystem && size < minFilesystem {
			return resource.Faults{{Field: "size", Reason: "must be at least " + resource.FormatSize(minFilesystem) + " for a filesystem"}}.Err()
		}
		have, err := v.p.sizeOf(ctx, facts.spec.Pool, facts.file())
		if err != nil {
			return err
		}
		if size == facts.spec.Size && size == have {
			return nil
		}
		if size < have {
			if !opts.Shrink && (facts.spec.Size == 0 || size < facts.spec.Size) {
				return &resource.Error{Kind: errdefs.ErrFailedPrecondition, Field: "size", Err: errors.New("is less than the present " + resource.FormatSize(have))}
			}
			err = v.p.shrink(ctx, facts, size)
		} else if size > have {
			err = v.p.enlarge(ctx, facts, size)
		}
		if err != nil {
			return err
		}
		after, err := v.amend(ctx, func(now *volumeFacts) error { now.spec.Size = size; return nil })
		if err == nil {
			v.p.tellRecord(after.document, after.spec.Labels, resource.ReasonUpdate)
		}
		return err
	}, func() error {
		if size <= 0 {
			return resource.Faults{{Field: "size", Reason: "must be positive"}}.Err()
		}
		return nil
	})
}

// enlarge gives a volume's file more room, and the filesystem in it.
func (p *Provider) enlarge(ctx context.Context, facts volumeFacts, size int64) error {
	users, err := p.usersOf(ctx, facts.ID)
	if err != nil {
		return err
	}
	if err := givenUp(ctx); err != nil {
		return err
	}
	busy := false
	for _, u := range users {
		busy = busy || u.active
	}
	if err := changes(ctx); err != nil {
		return err
	}
	// What a machine has open is its own to change, but for the room of a raw file.
	if !busy || facts.Disk == formatRaw {
		flags := lv.StorageVolResizeFlags(0)
		if facts.Disk == formatRaw {
			flags = lv.STORAGE_VOL_RESIZE_ALLOCATE
		}
		_, err := onVolume(ctx, p, facts.spec.Pool, facts.file(), func(_ *lv.Connect, v *lv.StorageVol) (struct{}, error) {
			return struct{}{}, v.Resize(uint64(size), flags)
		})
		if err != nil {
			return err
		}
	}
	for _, u := range users {
		if u.disk == "" {
			continue
		}
		_, err := onDomain(ctx, p, u.ref.ID, func(d *lv.Domain) (struct{}, error) {
			return struct{}{}, d.BlockResize(u.disk, uint64(size), lv.DOMAIN_BLOCK_RESIZE_BYTES)
		})
		if err != nil {
			return err
		}
	}
	if busy || facts.spec.Mode != storage.Filesystem {
		return nil
	}
	return p.onFile(ctx, facts, func(f *os.File) error { return resizeFilesystem(ctx, f, size) })
}

// resizeFilesystem makes a filesystem fit a size; one that is not clean is checked
// first.
func resizeFilesystem(ctx context.Context, f *os.File, size int64) error {
	if err := extTool(ctx, f, "e2fsck", "-f", "-y", extFile); err != nil && !mended(err) {
		return err
	}
	return extTool(ctx, f, "resize2fs", extFile, strconv.FormatInt(size/resource.KiB, 10)+"K")
}

// onFile opens a volume's file where that is on this host; elsewhere the guest is
// left to see to it.
func (p *Provider) onFile(ctx context.Context, facts volumeFacts, do func(*os.File) error) error {
	path, err := onVolume(ctx, p, facts.spec.Pool, facts.file(), func(_ *lv.Connect, v *lv.StorageVol) (string, error) { return v.GetPath() })
	if err != nil || p.here(path) == "" {
		return err
	}
	f, err := os.OpenFile(p.here(path), os.O_RDWR, 0)
	if err != nil {
		p.opts.Logger.Debug("a volume's filesystem is left to its guest", "volume", facts.ID, "error", err)
		return nil
	}
	defer f.Close()
	return do(f)
}

// shrink takes room from an idle volume, where that loses nothing. Libvirt does not
// take from a file what has its room from the beginning.
func (p *Provider) shrink(ctx context.Context, facts volumeFacts, size int64) error {
	if facts.Disk != formatRaw {
		return resource.Unsupported("shrink", "what a qcow2 file holds at its end is not known")
	}
	if err := p.still(ctx, facts.ID); err != nil {
		return err
	}
	if facts.spec.Mode == storage.Block {
		if err := p.emptyFrom(ctx, facts, size); err != nil {
			return err
		}
	}
	if err := givenUp(ctx); err != nil {
		return err
	}
	shrunk := false
	err := p.onFile(ctx, facts, func(f *os.File) error {
		if err := changes(ctx); err != nil {
			return err
		}
		shrunk = true
		if facts.spec.Mode == storage.Filesystem {
			if err := resizeFilesystem(ctx, f, size); err != nil {
				return atField("size", err)
			}
		}
		return f.Truncate(size)
	})
	if err == nil && !shrunk {
		err = resource.Unsupported("shrink", "the volume's file is on another host, or another user's")
	}
	return err
}

// emptyFrom holds that a file has nothing but zeros from an offset on.
func (p *Provider) emptyFrom(ctx context.Context, facts volumeFacts, size int64) error {
	_, err := transfer(ctx, p, func(ctx context.Context, c *lv.Connect) (struct{}, error) {
		v, err := lookupFile(c, facts.spec.Pool, facts.file())
		if err != nil {
			return struct{}{}, err
		}
		defer v.Free()
		begin := func(s *lv.Stream) error {
			return v.Download(s, uint64(size), 0, lv.STORAGE_VOL_DOWNLOAD_SPARSE_STREAM)
		}
		return struct{}{}, streaming(c, begin, func(s *lv.Stream) error {
			for ctx.Err() == nil {
				next, err := receivePart(s)
				if errors.Is(err, io.EOF) {
					return nil
				}
				if err != nil {
					return err
				}
				if !allZero(next.data) {
					return &resource.Error{Kind: errdefs.ErrFailedPrecondition, Field: "size", Err: errors.New("is less than what the volume holds")}
				}
			}
			return ctx.Err()
		})
	})
	return err
}
