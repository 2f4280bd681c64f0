package testimage

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Artifact is what can be written or pushed: a [v1.Image] or a [v1.ImageIndex].
type Artifact interface {
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

// Blobs returns all pieces of an image or index, each digest once, parents after
// their children, so that the last one describes the whole.
func Blobs(a Artifact) ([]Blob, error) {
	c := collector{seen: map[v1.Hash]bool{}}
	if err := c.collect(a, nil); err != nil {
		return nil, err
	}
	return c.blobs, nil
}

type collector struct {
	blobs []Blob
	seen  map[v1.Hash]bool
}

func (c *collector) add(d v1.Descriptor, open func() (io.ReadCloser, error)) {
	if !c.seen[d.Digest] {
		c.seen[d.Digest] = true
		c.blobs = append(c.blobs, Blob{Descriptor: d, Open: open})
	}
}

func (c *collector) collect(a Artifact, platform *v1.Platform) error {
	var err error
	switch a := a.(type) {
	case v1.Image:
		err = c.image(a)
	case v1.ImageIndex:
		err = c.index(a)
	default:
		err = fmt.Errorf("%T is neither an image nor an index", a)
	}
	if err != nil {
		return err
	}
	d := v1.Descriptor{Platform: platform}
	if d.MediaType, err = a.MediaType(); err != nil {
		return err
	}
	if d.Digest, err = a.Digest(); err != nil {
		return err
	}
	if d.Size, err = a.Size(); err != nil {
		return err
	}
	manifest, err := a.RawManifest()
	c.add(d, opener(manifest))
	return err
}

func (c *collector) image(image v1.Image) error {
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	for _, layer := range layers {
		var d v1.Descriptor
		if d.MediaType, err = layer.MediaType(); err != nil {
			return err
		}
		if d.Digest, err = layer.Digest(); err != nil {
			return err
		}
		if d.Size, err = layer.Size(); err != nil {
			return err
		}
		c.add(d, layer.Compressed)
	}
	manifest, err := image.Manifest()
	if err != nil {
		return err
	}
	config, err := image.RawConfigFile()
	c.add(manifest.Config, opener(config))
	return err
}

func (c *collector) index(index v1.ImageIndex) error {
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
		if err := c.collect(child, d.Platform); err != nil {
			return err
		}
	}
	return nil
}

func opener(content []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
}

// WriteOCI writes an OCI archive: a tar of an image layout whose only entry has
// the given name, such as "example.test/app:v1", in the annotations that
// containerd, docker and others look for.
func WriteOCI(w io.Writer, ref string, a Artifact) error {
	t := tar.NewWriter(w)
	if err := writeLayout(ref, a, func(name string, size int64, content io.Reader) error {
		err := t.WriteHeader(&tar.Header{
			Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: size, ModTime: epoch, Format: tar.FormatUSTAR})
		if err != nil {
			return err
		}
		_, err = io.Copy(t, content)
		return err
	}); err != nil {
		return err
	}
	return t.Close()
}

// WriteLayout writes an OCI image layout into a folder, which is made if it does
// not exist.
func WriteLayout(dir, ref string, a Artifact) error {
	return writeLayout(ref, a, func(name string, size int64, content io.Reader) error {
		target := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		f, err := os.Create(target)
		if err != nil {
			return err
		}
		if _, err := io.Copy(f, content); err != nil {
			f.Close()
			return err
		}
		return f.Close()
	})
}

// WriteDocker writes a Docker archive, as "docker save" makes it.
func WriteDocker(w io.Writer, ref string, image v1.Image) error {
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return err
	}
	return tarball.Write(parsed, image, w)
}

// writeLayout hands out the files of an image layout.
func writeLayout(ref string, a Artifact, put func(name string, size int64, content io.Reader) error) error {
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return err
	}
	blobs, err := Blobs(a)
	if err != nil {
		return err
	}
	top := blobs[len(blobs)-1].Descriptor
	top.Annotations = map[string]string{
		"io.containerd.image.name":          ref,
		"org.opencontainers.image.ref.name": parsed.Identifier(),
	}
	if err := putJSON(put, "oci-layout", map[string]string{"imageLayoutVersion": "1.0.0"}); err != nil {
		return err
	}
	if err := putJSON(put, "index.json", v1.IndexManifest{
		SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{top},
	}); err != nil {
		return err
	}
	slices.SortFunc(blobs, func(a, b Blob) int { return bytes.Compare([]byte(a.Digest.Hex), []byte(b.Digest.Hex)) })
	for _, b := range blobs {
		if err := b.put(put); err != nil {
			return err
		}
	}
	return nil
}

// put reads the content in full first: a hostile image's descriptor lies about
// the size, and the archive around it is to be sound.
func (b Blob) put(put func(name string, size int64, content io.Reader) error) error {
	content, err := b.Content()
	if err != nil {
		return err
	}
	return put(path.Join("blobs", b.Digest.Algorithm, b.Digest.Hex), int64(len(content)), bytes.NewReader(content))
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

func putJSON(put func(string, int64, io.Reader) error, name string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return put(name, int64(len(text)), bytes.NewReader(text))
}
