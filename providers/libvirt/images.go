//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"iter"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// images are the disk images of the namespace. Each is a file of the pool, and a
// record that says what it is and by what names it goes.
type images struct{ p *Provider }

var _ compute.Images = images{}

func (s images) records() records { return records{s.p, resource.KindImage} }

// ref is what is known of an image by a name or an ID.
func (s images) ref(nameOrID string) resource.Ref {
	ref := s.p.ref(resource.KindImage, nameOrID, "")
	if _, err := compute.ParseImageReference(nameOrID); err != nil && compute.CheckImageReference(nameOrID) == "" {
		ref.Name, ref.ID = "", nameOrID
	}
	return ref
}

// do is the frame of an operation on an image.
func (s images) do(ctx context.Context, op, nameOrID string, faults resource.Faults, act func(context.Context) error) error {
	ctx, done, err := s.p.begin(ctx)
	if err != nil {
		return resource.Fail(op, s.ref(nameOrID), err)
	}
	defer done()
	err = faults.Err()
	if err == nil {
		err = act(ctx)
	}
	return resource.Fail(op, s.ref(nameOrID), err)
}

// checkName finds out whether a name or an ID is one.
func checkImageName(nameOrID string) (faults resource.Faults) {
	faults.AddReason("nameOrID", compute.CheckImageReference(nameOrID))
	return faults
}

// catalogue reads the namespace's images.
func (s images) catalogue(ctx context.Context) (*catalogue, error) {
	docs, err := s.records().list(ctx)
	if err != nil {
		return nil, err
	}
	return catalogued(docs), nil
}

// find reads one image.
func (s images) find(ctx context.Context, nameOrID string) (*diskImage, error) {
	c, err := s.catalogue(ctx)
	if err != nil {
		return nil, err
	}
	return c.find(nameOrID)
}

func (s images) info(img *diskImage, nameOrID string) compute.Image {
	return img.info(s.p.opts.Namespace, img.asked(nameOrID))
}

// Pull implements compute.Images: it is not supported.
func (s images) Pull(ctx context.Context, ref string, opts compute.PullOptions) (compute.Image, error) {
	faults := opts.Validate()
	faults.AddReason("ref", compute.CheckImageReference(ref))
	return compute.Image{}, s.do(ctx, "pull", ref, faults, func(context.Context) error { return resource.Unsupported("pull", noPull) })
}

// Get implements compute.Images.
func (s images) Get(ctx context.Context, nameOrID string) (out compute.Image, err error) {
	err = s.do(ctx, "get", nameOrID, checkImageName(nameOrID), func(ctx context.Context) error {
		img, err := s.find(ctx, nameOrID)
		if err == nil {
			out = s.info(img, nameOrID)
		}
		return err
	})
	return out, err
}

// List implements compute.Images.
func (s images) List(ctx context.Context, filter compute.ImageFilter) iter.Seq2[compute.Image, error] {
	return func(yield func(compute.Image, error) bool) {
		var c *catalogue
		err := s.do(ctx, "list", "", nil, func(ctx context.Context) (err error) {
			c, err = s.catalogue(ctx)
			return err
		})
		if err == nil {
			for _, img := range c.all {
				if info := s.info(img, ""); filter.Matches(info) && !yield(info, nil) {
					return
				}
			}
			err = resource.Fail("list", s.ref(""), c.fault)
		}
		if err != nil {
			yield(compute.Image{}, err)
		}
	}
}
