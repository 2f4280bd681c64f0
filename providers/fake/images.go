package fake

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// images are the images of a value's namespace.
type images struct{ p *Provider }

var _ compute.Images = images{}

// ref is what is known of an image by a name or an ID.
func (s images) ref(nameOrID string) resource.Ref {
	if isDigest(nameOrID) {
		return s.p.ref(resource.KindImage, "", nameOrID)
	}
	return s.p.ref(resource.KindImage, fullName(nameOrID), "")
}

// fail names the image as the caller does.
func (s images) fail(op Op, nameOrID string, err error) error {
	ref := s.ref(nameOrID)
	if ref.ID == "" {
		ref.Name = nameOrID
	}
	return resource.Fail(op.verb(), ref, err)
}

// imageStore holds the images of one namespace. The backend's lock guards it.
type imageStore struct {
	byID   map[string]*image
	byName map[string]*image
	// asked are the images by what callers write, so that the same reference is not
	// parsed for each of a thousand instances. It is emptied at every change.
	asked map[string]named
	// downloads are under way, by digest.
	downloads map[string]*download
}

// named is an image with the name in full that it was found by; the empty name
// where that was a digest.
type named struct {
	*image
	name string
}

// maxAsked bounds what is kept of what callers write.
const maxAsked = 1024

// look is find with a memory.
func (s *imageStore) look(nameOrID string) (named, error) {
	if n, ok := s.asked[nameOrID]; ok {
		return n, nil
	}
	img, err := s.find(nameOrID)
	if err != nil {
		return named{}, err
	}
	n := named{image: img}
	full := fullName(nameOrID)
	for _, name := range img.names {
		if name == full || n.name == "" {
			// The image's own string: thousands of instances share it.
			n.name = name
		}
		if name == full {
			break
		}
	}
	if s.asked == nil || len(s.asked) >= maxAsked {
		s.asked = make(map[string]named)
	}
	s.asked[nameOrID] = n
	return n, nil
}

// find returns the image of a name, as a caller writes it, or of a digest.
func (s *imageStore) find(nameOrID string) (*image, error) {
	if isDigest(nameOrID) {
		if img, ok := s.byID[nameOrID]; ok {
			return img, nil
		}
		return nil, noImage(nameOrID)
	}
	ref, err := compute.ParseImageReference(nameOrID)
	if err != nil {
		return nil, err
	}
	if img, ok := s.byName[ref.String()]; ok {
		return img, nil
	}
	if ref.Digest != "" {
		if img, ok := s.byID[ref.Digest]; ok {
			return img, nil
		}
	}
	return nil, noImage(nameOrID)
}

// sorted returns the images in the order in which they came.
func (s *imageStore) sorted() []*image {
	all := make([]*image, 0, len(s.byID))
	for _, img := range s.byID {
		all = append(all, img)
	}
	slices.SortFunc(all, func(a, b *image) int { return cmp.Compare(a.order, b.order) })
	return all
}

// keep stores content under a name, which is taken from another image that had
// it. An image that is left without a name goes, unless an instance was made of
// it. The backend is locked.
func (s *space) keep(c *artifact, name string) (*image, error) {
	b := s.backend
	st := &s.images
	st.asked = nil
	img := st.byID[c.digest]
	fresh := img == nil
	if fresh {
		if err := b.store(c.size); err != nil {
			return nil, err
		}
		b.order++
		made := c.made
		if made.IsZero() {
			made = time.Now()
		}
		img = &image{artifact: c, object: object{
			space:    s,
			kind:     resource.KindImage,
			name:     name,
			id:       c.digest,
			order:    b.order,
			created:  made,
			revision: 1,
			managed:  true,
			owner:    nobody,
		}}
		if st.byID == nil {
			st.byID, st.byName = make(map[string]*image), make(map[string]*image)
		}
		st.byID[c.digest] = img
	}
	before := st.byName[name]
	if before != nil && before != img {
		s.unname(before, name)
		if len(before.names) == 0 && before.used == 0 {
			s.removeImage(before)
		}
	}
	if before != img {
		st.byName[name] = img
		img.names = append(slices.Clone(img.names), name)
		slices.Sort(img.names)
		img.name = img.names[0]
	}
	switch {
	case fresh:
		s.emit(img, resource.EventAdded, resource.ReasonCreate)
	case before != img:
		img.revision++
		s.emit(img, resource.EventChanged, resource.ReasonUpdate)
	}
	return img, nil
}

// unname takes a name from an image. The backend is locked.
func (s *space) unname(img *image, name string) {
	s.images.asked = nil
	delete(s.images.byName, name)
	img.names = slices.DeleteFunc(slices.Clone(img.names), func(n string) bool { return n == name })
	img.revision++
	if len(img.names) > 0 {
		img.name = img.names[0]
	}
}

// removeImage takes an image away. The backend is locked.
func (s *space) removeImage(img *image) {
	s.images.asked = nil
	for _, name := range img.names {
		delete(s.images.byName, name)
	}
	delete(s.images.byID, img.digest)
	img.gone = true
	s.backend.unstore(img.size)
	s.emit(img, resource.EventDeleted, "")
}

// obtain returns the image that a spec names, and brings it where the policy says
// so.
func (p *Provider) obtain(ctx context.Context, name string, policy compute.PullPolicy) (named, error) {
	look := func() (named, error) {
		p.backend.mu.Lock()
		defer p.backend.mu.Unlock()
		return p.space.images.look(name)
	}
	if policy != compute.PullAlways || isDigest(name) {
		n, err := look()
		if err == nil || policy == compute.PullNever || !p.backend.offers.Images.Has(compute.FeaturePull) || isDigest(name) || !errdefs.IsNotFound(err) {
			return n, err
		}
	}
	img, err := p.pull(ctx, name, compute.PullOptions{})
	if err != nil {
		return named{}, err
	}
	return named{img, fullName(name)}, nil
}

// Get returns the image of a name or ID.
func (s images) Get(ctx context.Context, nameOrID string) (compute.Image, error) {
	var out compute.Image
	err := s.look(ctx, OpGetImage, nameOrID, func(img *image) error {
		out = img.infoAs(fullName(nameOrID))
		return nil
	})
	return out, err
}

// look is the frame of what is done with an image that is there: act is called
// with the backend locked.
func (s images) look(ctx context.Context, op Op, nameOrID string, act func(img *image) error) error {
	p := s.p
	err := p.open(ctx)
	if err == nil && compute.CheckImageReference(nameOrID) != "" {
		err = resource.Faults{{Field: "nameOrID", Reason: compute.CheckImageReference(nameOrID)}}
	}
	if err != nil {
		return s.fail(op, nameOrID, err)
	}
	at := target{ref: s.ref(nameOrID)}
	c, err := p.reach(ctx, op, at)
	if err == nil {
		p.backend.mu.Lock()
		var img *image
		if img, err = p.space.images.find(nameOrID); err == nil {
			err = act(img)
		}
		p.backend.mu.Unlock()
	}
	return s.fail(op, nameOrID, c.done(err))
}

// fullName completes a reference; what is none stays as it is.
func fullName(name string) string {
	if isDigest(name) {
		return name
	}
	ref, err := compute.ParseImageReference(name)
	if err != nil {
		return name
	}
	return ref.String()
}

// List yields the images that match, in the order in which they came.
func (s images) List(ctx context.Context, filter compute.ImageFilter) iter.Seq2[compute.Image, error] {
	return func(yield func(compute.Image, error) bool) {
		p := s.p
		err := p.open(ctx)
		var c call
		if err == nil {
			c, err = p.reach(ctx, OpListImages, target{ref: s.ref("")})
		}
		if err == nil {
			p.backend.mu.Lock()
			var all []compute.Image
			for _, img := range p.space.images.sorted() {
				if info := img.info(); filter.Matches(info) {
					all = append(all, info)
				}
			}
			p.backend.mu.Unlock()
			for _, info := range all {
				if err = p.open(ctx); err != nil {
					break
				}
				if !yield(info, nil) {
					return
				}
			}
		}
		if err = c.done(err); err != nil {
			yield(compute.Image{}, s.fail(OpListImages, "", err))
		}
	}
}

// Delete removes a name, and the image with its last one.
func (s images) Delete(ctx context.Context, nameOrID string, _ compute.DeleteImageOptions) error {
	return s.look(ctx, OpDeleteImage, nameOrID, func(img *image) error {
		name := fullName(nameOrID)
		last := isDigest(nameOrID) || len(img.names) <= 1 || !slices.Contains(img.names, name)
		switch {
		case !last:
			s.p.space.unname(img, name)
			s.p.space.emit(img, resource.EventChanged, resource.ReasonUpdate)
		case img.used > 0:
			return resource.Errorf(errdefs.ErrFailedPrecondition, "%d instances were made of the image", img.used)
		default:
			s.p.space.removeImage(img)
		}
		return nil
	})
}
