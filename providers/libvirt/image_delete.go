//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	lv "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// removeTime is how long the removal of an image may take.
const removeTime = time.Minute

// Delete implements compute.Images.
func (s images) Delete(ctx context.Context, nameOrID string, _ compute.DeleteImageOptions) error {
	return s.do(ctx, "delete", nameOrID, checkImageName(nameOrID), func(ctx context.Context) error {
		return s.p.seenThrough(ctx, compute.CleanupTimeout, func(ctx context.Context) error {
			img, err := s.find(ctx, nameOrID)
			if err != nil {
				return err
			}
			if name := fullImageName(nameOrID); len(img.names) > 1 && slices.Contains(img.names, name) {
				return s.unname(ctx, img, name)
			}
			return s.remove(ctx, img)
		})
	})
}

// unname takes a name from an image.
func (s images) unname(ctx context.Context, img *diskImage, name string) error {
	for _, d := range img.docs {
		err := s.amend(ctx, d.ID, func(d document, f imageFacts) (document, error) { return d.withImage(f.unnamed(name)) })
		if err != nil && !isNotFound(err) {
			return err
		}
	}
	return nil
}

// remove removes an image that nobody uses. Libvirt would let a file go of which
// others are overlays, so that who makes an overlay and who removes an image each
// say so first, and look then: see overlay.
func (s images) remove(ctx context.Context, img *diskImage) (err error) {
	ctx, cancel := context.WithTimeout(ctx, removeTime)
	defer cancel()
	var marked []document
	defer func() {
		if err == nil {
			return
		}
		clean, cancel := s.p.cleanup(ctx)
		defer cancel()
		for _, d := range marked {
			if restored := s.restore(clean, d.ID); restored != nil {
				s.p.later(ctx, func(ctx context.Context) bool { return s.restore(ctx, d.ID) == nil })
			}
		}
	}()
	for _, d := range img.docs {
		marked = append(marked, d)
		err := s.amend(ctx, d.ID, func(d document, f imageFacts) (document, error) {
			if d.Phase == removing && !s.p.abandoned(d) {
				return d, errNoImage()
			}
			d.Home = s.p.home
			return d.begun(removing, s.p.owner.Generation, removeTime), nil
		})
		if err != nil {
			return err
		}
	}
	users, err := s.p.imageUsers(ctx, marked)
	if err != nil {
		return err
	}
	if len(users) > 0 {
		return resource.Errorf(errdefs.ErrFailedPrecondition, "%d instances were made of the image", len(users))
	}
	// From here on there is no way back.
	marked = nil
	for _, d := range img.docs {
		if err := s.drop(ctx, d.ID); err != nil {
			s.p.later(ctx, func(ctx context.Context) bool { return s.drop(ctx, d.ID) == nil })
			return err
		}
	}
	return nil
}

// restore gives an image back that this value was about to remove.
func (s images) restore(ctx context.Context, id string) error {
	err := s.amend(ctx, id, func(d document, _ imageFacts) (document, error) {
		if d.Phase == removing && d.Maker == s.p.owner.Generation {
			d = d.ended()
		}
		return d, nil
	})
	if isNotFound(err) {
		return nil
	}
	return err
}

// imageUsers lists what needs the files of records of images: instances, by their
// IDs, and overlays, by their files.
func (p *Provider) imageUsers(ctx context.Context, docs []document) ([]string, error) {
	ours := map[string]bool{}
	for _, d := range docs {
		ours[d.ID] = true
	}
	users, err := p.overlaysOf(ctx, docs)
	if err != nil {
		return nil, err
	}
	all, err := p.readAll(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range all {
		r := d.facts.record
		if r == nil || r.Disks == nil || r.Disks.Image == nil || !ours[r.Disks.Image.Record] {
			continue
		}
		if !slices.Contains(users, rootFile(d.id)) {
			users = append(users, d.id)
		}
	}
	return users, nil
}

// overlaysOf lists the files of the pool that are overlays of images.
func (p *Provider) overlaysOf(ctx context.Context, docs []document) ([]string, error) {
	return onPool(ctx, p, p.opts.Pool, func(_ *lv.Connect, pool *lv.StoragePool) ([]string, error) {
		// What another host has made is known after this; where something is being made
		// it is refused, and what this host made is known anyway.
		_ = pool.Refresh(0)
		listed, err := pool.ListAllStorageVolumes(0)
		if err != nil {
			return nil, err
		}
		defer func() {
			for i := range listed {
				_ = listed[i].Free()
			}
		}()
		bases := map[string]bool{}
		for _, d := range docs {
			v, err := pool.LookupStorageVolByName(imageFile(d.ID))
			if errors.Is(err, lv.ERR_NO_STORAGE_VOL) {
				continue
			}
			if err != nil {
				return nil, err
			}
			path, err := v.GetPath()
			_ = v.Free()
			if err != nil {
				return nil, err
			}
			bases[path] = true
		}
		var out []string
		for i := range listed {
			name, err := listed[i].GetName()
			if _, record := parsePlace(name); err != nil || record {
				continue
			}
			text, err := listed[i].GetXMLDesc(0)
			if errors.Is(err, lv.ERR_NO_STORAGE_VOL) {
				continue
			}
			if err != nil {
				return nil, err
			}
			var description libvirtxml.StorageVolume
			if err := description.Unmarshal(text); err != nil {
				return nil, resource.Errorf(errdefs.ErrDataLoss, "the description of file %s cannot be read: %w", resource.Quote(name), err)
			}
			if b := description.BackingStore; b != nil && bases[b.Path] {
				out = append(out, name)
			}
		}
		return out, nil
	})
}
