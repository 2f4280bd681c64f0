package libvirt

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// imageFacts are what the record of an image keeps beside what all records have.
type imageFacts struct {
	// Digest is the image's ID, that of its bytes as they came.
	Digest string              `json:"digest,omitempty"`
	Format compute.ImageFormat `json:"format"`
	// VirtualSize is the size of the disk in bytes, and Size that of the file.
	VirtualSize int64            `json:"virtualSize,omitempty"`
	Size        int64            `json:"size,omitempty"`
	Platform    compute.Platform `json:"platform,omitzero"`
	Names       []imageName      `json:"names,omitempty"`
}

// imageName is a name with the time since when it has meant the image. Of several
// images that claim a name the last one has it, so that no moment of an import
// leaves the name without an image.
type imageName struct {
	Name  string    `json:"name"`
	Since time.Time `json:"since"`
}

// imageFile is the file of an image's content.
func imageFile(id string) string { return id + ".image" }

// named returns the facts with a name more.
func (f imageFacts) named(name string, since time.Time) imageFacts {
	f = f.unnamed(name)
	f.Names = append(f.Names, imageName{name, since.UTC()})
	return f
}

// unnamed returns the facts without a name.
func (f imageFacts) unnamed(name string) imageFacts {
	f.Names = slices.DeleteFunc(slices.Clone(f.Names), func(n imageName) bool { return n.Name == name })
	return f
}

// withImage returns the document with what it is to keep of an image.
func (d document) withImage(f imageFacts) (document, error) {
	more, err := json.Marshal(f)
	d.More = more
	return d, err
}

// image reads what the document keeps of an image.
func (d document) image() (imageFacts, error) {
	var f imageFacts
	if d.fault != nil {
		return f, d.fault
	}
	if err := json.Unmarshal(d.More, &f); err != nil {
		return f, resource.Errorf(errdefs.ErrDataLoss, "the record of image %s cannot be read: %w", d.ID, err)
	}
	return f, nil
}

// diskImage is an image with the records of it: more than one where the same was
// imported twice at the same time.
type diskImage struct {
	imageFacts
	docs []document
	// names are those that are the image's, sorted.
	names []string
}

// catalogue is what the records say of images.
type catalogue struct {
	all    []*diskImage
	byID   map[string]*diskImage
	byName map[string]*diskImage
	// fault is why a record could not be read: of an image, but nobody knows which.
	fault error
}

// catalogued sorts documents. Those that are not finished are nobody's to see.
func catalogued(docs []document) *catalogue {
	c := &catalogue{byID: map[string]*diskImage{}, byName: map[string]*diskImage{}}
	since := map[string]time.Time{}
	docs = slices.SortedFunc(slices.Values(docs), func(a, b document) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	for _, d := range docs {
		f, err := d.image()
		if err != nil {
			c.fault = err
			continue
		}
		if d.hidden() || f.Digest == "" {
			continue
		}
		img := c.byID[f.Digest]
		if img == nil {
			img = &diskImage{imageFacts: f}
			c.byID[f.Digest] = img
			c.all = append(c.all, img)
		}
		img.docs = append(img.docs, d)
		for _, n := range f.Names {
			if before, taken := since[n.Name]; !taken || !n.Since.Before(before) {
				since[n.Name], c.byName[n.Name] = n.Since, img
			}
		}
	}
	for name, img := range c.byName {
		img.names = append(img.names, name)
	}
	for _, img := range c.all {
		slices.Sort(img.names)
	}
	return c
}

// find returns the image of a name, as a caller writes it, or of an ID.
func (c *catalogue) find(nameOrID string) (*diskImage, error) {
	ref, err := compute.ParseImageReference(nameOrID)
	switch {
	case err == nil:
		if img, ok := c.byName[ref.String()]; ok {
			return img, nil
		}
		if img, ok := c.byID[ref.Digest]; ok {
			return img, nil
		}
	case c.byID[nameOrID] != nil:
		return c.byID[nameOrID], nil
	}
	if c.fault != nil {
		return nil, c.fault
	}
	return nil, resource.Errorf(errdefs.ErrNotFound, "no such image")
}

// claims reports whether a record of the image has the name.
func (img *diskImage) claims(name string) bool {
	return slices.ContainsFunc(img.docs, func(d document) bool {
		f, err := d.image()
		return err == nil && slices.ContainsFunc(f.Names, func(n imageName) bool { return n.Name == name })
	})
}

// asked returns the name of the image by which it was asked for, else its first.
func (img *diskImage) asked(nameOrID string) string {
	if name := fullImageName(nameOrID); slices.Contains(img.names, name) {
		return name
	}
	if len(img.names) == 0 {
		return ""
	}
	return img.names[0]
}

// fullImageName completes a name; what is none stays as it is.
func fullImageName(name string) string {
	ref, err := compute.ParseImageReference(name)
	if err != nil {
		return name
	}
	return ref.String()
}

// info is what callers see of the image, asked for by a name.
func (img *diskImage) info(namespace, name string) compute.Image {
	return compute.Image{
		Ref:      resource.Ref{Provider: Scheme, Kind: resource.KindImage, Namespace: namespace, Name: name, ID: img.Digest},
		Names:    img.names,
		Platform: img.Platform,
		Form:     compute.Disk,
		Size:     img.Size,
		Created:  img.docs[0].Created,
	}
}
