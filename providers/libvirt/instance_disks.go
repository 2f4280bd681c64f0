//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	lv "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// imageOf finds the image of a spec; nil where it has none.
func (p *Provider) imageOf(ctx context.Context, spec compute.Spec) (*diskImage, error) {
	if spec.Image == "" {
		return nil, nil
	}
	img, err := (images{p}).find(ctx, spec.Image)
	if isNotFound(err) {
		return nil, errNoImageOf(spec)
	}
	if err == nil && spec.RootDisk != 0 && spec.RootDisk < img.VirtualSize {
		err = resource.Faults{{Field: "rootDisk", Reason: fmt.Sprintf("must be at least the %s of the image's disk", resource.FormatSize(img.VirtualSize))}}
	}
	return img, err
}

// errNoImageOf is also what a spec gets that would have its image pulled.
func errNoImageOf(spec compute.Spec) error {
	return &resource.Error{Kind: errdefs.ErrNotFound, Field: "image", Err: errors.New("there is no image " + resource.Quote(spec.Image) + ", and " + noPull)}
}

// makeDisks makes the disks that are an instance's own, and says in its record which
// they are. Whoever calls it removes them again where it fails.
//
// Whoever removes an image says so in its record before it looks for overlays; here
// the overlay is made before the record is looked at. So at least one of the two
// sees the other.
func (p *Provider) makeDisks(ctx context.Context, id string, r *record, img *diskImage) error {
	if !hasDisks(r.spec) {
		return nil
	}
	facts, err := p.pool(ctx, p.opts.Pool)
	if err != nil {
		return err
	}
	r.Disks = &diskRecord{Pool: facts.name, Folder: facts.folder}
	if img != nil {
		base := img.docs[0].ID
		r.Disks.Image = &imageUse{Digest: img.Digest, Name: img.asked(r.spec.Image), Record: base}
		if err := p.makeOverlay(ctx, id, r.spec, img); err != nil {
			return err
		}
		if _, err := (images{p}).records().find(ctx, base); isNotFound(err) {
			return errNoImageOf(r.spec)
		} else if err != nil {
			return err
		}
	}
	if err := givenUp(ctx); err != nil || r.spec.CloudInit == nil {
		return err
	}
	return p.makeSeed(ctx, id, facts.name, r.spec)
}

// plannedDisks is what makeDisks would say in the record, as far as that is known
// without making anything.
func (p *Provider) plannedDisks(ctx context.Context, spec compute.Spec) (*diskRecord, error) {
	if !hasDisks(spec) {
		return nil, nil
	}
	out := &diskRecord{Pool: p.opts.Pool}
	if spec.Image != "" {
		out.Image = &imageUse{}
	}
	facts, err := call(ctx, p, func(c *lv.Connect) (poolFacts, error) {
		pool, err := c.LookupStoragePoolByName(p.opts.Pool)
		if err != nil {
			return poolFacts{}, err
		}
		defer pool.Free()
		return readPool(pool)
	})
	out.Folder = facts.folder
	if isNotFound(err) {
		out.Folder, _ = poolFolder(p.opts)
		err = nil
	}
	return out, err
}

// makeOverlay makes the first disk: as large as the spec says, and empty but for
// what the image has.
func (p *Provider) makeOverlay(ctx context.Context, id string, spec compute.Spec, img *diskImage) error {
	if err := changes(ctx); err != nil {
		return err
	}
	_, err := onPool(ctx, p, p.opts.Pool, func(_ *lv.Connect, pool *lv.StoragePool) (struct{}, error) {
		base, err := pool.LookupStorageVolByName(imageFile(img.docs[0].ID))
		if err != nil {
			return struct{}{}, err
		}
		path, err := base.GetPath()
		_ = base.Free()
		if err != nil {
			return struct{}{}, err
		}
		v, err := makeFile(pool, overlay(rootFile(id), max(spec.RootDisk, img.VirtualSize), path, string(img.Format)), nil)
		if err != nil {
			return struct{}{}, err
		}
		return struct{}{}, v.Free()
	})
	if isNotFound(err) {
		return errNoImageOf(spec)
	}
	return err
}

func (p *Provider) makeSeed(ctx context.Context, id, pool string, spec compute.Spec) error {
	content := seed(id, spec)
	if err := changes(ctx); err != nil {
		return err
	}
	_, err := onPool(ctx, p, pool, func(c *lv.Connect, pool *lv.StoragePool) (struct{}, error) {
		v, err := makeFile(pool, rawFile(seedFile(id), int64(len(content))), nil)
		if err != nil {
			return struct{}{}, err
		}
		defer v.Free()
		return struct{}{}, put(c, v, content)
	})
	return err
}

// removeDisks removes the disks that are an instance's own, of these files. A pool that
// is not there has none, and is not made.
func (p *Provider) removeDisks(ctx context.Context, pool string, files ...string) error {
	if err := changes(ctx); err != nil {
		return err
	}
	return act(ctx, p, func(c *lv.Connect) error {
		found, err := c.LookupStoragePoolByName(pool)
		if errors.Is(err, lv.ERR_NO_STORAGE_POOL) {
			return nil
		}
		if err != nil {
			return err
		}
		defer found.Free()
		for _, file := range files {
			if err := removeIn(found, pool == p.opts.Pool, file); err != nil {
				return err
			}
		}
		return nil
	})
}

// removeIn removes a file of a pool. That there is none is nil.
func removeIn(pool *lv.StoragePool, own bool, file string) error {
	v, err := lookupIn(pool, own, file)
	if err == nil {
		err = v.Delete(lv.STORAGE_VOL_DELETE_NORMAL)
		_ = v.Free()
	}
	if errors.Is(err, lv.ERR_NO_STORAGE_VOL) {
		return nil
	}
	return err
}

// undoDisks removes the disks of an instance that was not made.
func (p *Provider) undoDisks(ctx context.Context, id string, r record) {
	if r.Disks == nil {
		return
	}
	clean, cancel := p.cleanup(ctx)
	defer cancel()
	files := diskFiles(id, &r)
	if err := p.removeDisks(clean, r.Disks.Pool, files...); err != nil {
		p.later(ctx, func(ctx context.Context) bool { return p.removeDisks(ctx, r.Disks.Pool, files...) == nil })
	}
}

// overlay describes a file that has what another has until it is written to.
func overlay(name string, size int64, base, format string) libvirtxml.StorageVolume {
	out := rawFile(name, size)
	out.Allocation = nil
	out.Target.Format.Type = "qcow2"
	out.BackingStore = &libvirtxml.StorageVolumeBackingStore{Path: base, Format: &libvirtxml.StorageVolumeTargetFormat{Type: format}}
	return out
}
