package testimage

import (
	"bytes"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Artifact is what can be written or pushed: a [v1.Image], a [v1.ImageIndex], or
// what [Hostile] makes.
type Artifact interface {
	// MediaType, Digest, Size and RawManifest are those of a v1.Image.
	MediaType() (types.MediaType, error)
	Digest() (v1.Hash, error)
	Size() (int64, error)
	RawManifest() ([]byte, error)
}

// Blob is a piece of content as it is stored: a layer, a configuration or a
// manifest.
type Blob struct {
	// Descriptor is what its parent says of it.
	v1.Descriptor
	// Open returns the content, which a hostile image makes something else than
	// the descriptor says.
	Open func() (io.ReadCloser, error)
}

// Content returns all of it.
func (b Blob) Content() ([]byte, error) {
	r, err := b.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// Blobs returns all pieces of an image or index, each digest once, parents after
// their children, so that the last one describes the whole. What a hostile image
// lacks is not among them.
func Blobs(a Artifact) ([]Blob, error) {
	c := collector{seen: map[v1.Hash]bool{}}
	if err := c.collect(a); err != nil {
		return nil, err
	}
	return c.blobs, nil
}

type collector struct {
	blobs []Blob
	seen  map[v1.Hash]bool
}

func (c *collector) add(blobs ...Blob) {
	for _, b := range blobs {
		if !c.seen[b.Digest] {
			c.seen[b.Digest] = true
			c.blobs = append(c.blobs, b)
		}
	}
}

func (c *collector) collect(a Artifact) error {
	switch a := a.(type) {
	case v1.ImageIndex:
		if err := c.children(a); err != nil {
			return err
		}
		manifest, err := manifestOf(a)
		c.add(manifest)
		return err
	default:
		p, err := partsOf(a)
		c.add(p.layers...)
		c.add(p.config, p.manifest)
		return err
	}
}

func (c *collector) children(index v1.ImageIndex) error {
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	for _, d := range manifest.Manifests {
		var child Artifact
		if d.MediaType.IsIndex() {
			child, err = index.ImageIndex(d.Digest)
		} else {
			child, err = index.Image(d.Digest)
		}
		if err != nil {
			return err
		}
		if err := c.collect(child); err != nil {
			return err
		}
	}
	return nil
}

// parts is what an image consists of.
type parts struct {
	layers           []Blob
	config, manifest Blob
}

func partsOf(a Artifact) (parts, error) {
	switch a := a.(type) {
	case *crafted:
		return a.parts, nil
	case v1.Image:
		return imageParts(a)
	}
	return parts{}, fmt.Errorf("%T is no image", a)
}

func imageParts(image v1.Image) (p parts, err error) {
	layers, err := image.Layers()
	if err != nil {
		return p, err
	}
	for _, layer := range layers {
		b := Blob{Open: layer.Compressed}
		if b.MediaType, err = layer.MediaType(); err != nil {
			return p, err
		}
		if b.Digest, err = layer.Digest(); err != nil {
			return p, err
		}
		if b.Size, err = layer.Size(); err != nil {
			return p, err
		}
		p.layers = append(p.layers, b)
	}
	manifest, err := image.Manifest()
	if err != nil {
		return p, err
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return p, err
	}
	p.config = Blob{Descriptor: manifest.Config, Open: opener(config)}
	p.manifest, err = manifestOf(image)
	return p, err
}

// manifestOf returns the manifest of an image or index as a blob.
func manifestOf(a Artifact) (b Blob, err error) {
	if b.MediaType, err = a.MediaType(); err != nil {
		return b, err
	}
	if b.Digest, err = a.Digest(); err != nil {
		return b, err
	}
	if b.Size, err = a.Size(); err != nil {
		return b, err
	}
	content, err := a.RawManifest()
	b.Open = opener(content)
	return b, err
}

func opener(content []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
}
