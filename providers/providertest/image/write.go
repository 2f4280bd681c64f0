package testimage

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// put stores one file of an archive or a folder.
type put func(name string, content []byte) error

func (p put) json(name string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return p(name, text)
}

// WriteOCI writes an OCI archive: a tar of an image layout whose only entry has
// the given name, such as "example.test/app:v1", in the annotations that
// containerd, docker and others look for.
func WriteOCI(w io.Writer, ref string, a Artifact) error {
	return archive(w, func(p put) error { return layout(p, ref, a) })
}

// WriteLayout writes an OCI image layout into a folder, which is made if it does
// not exist. What lies there is overwritten, but not removed.
func WriteLayout(dir, ref string, a Artifact) error {
	return layout(func(name string, content []byte) error {
		target := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		return os.WriteFile(target, content, 0o644)
	}, ref, a)
}

// WriteDocker writes an image as "docker save" does: its layers are not
// compressed, and it has no manifest and thus no digest, only the digest of its
// configuration as its ID. It fails for an index.
func WriteDocker(w io.Writer, ref string, image Artifact) error {
	tag, err := name.NewTag(ref)
	if err != nil {
		return err
	}
	p, err := partsOf(image)
	if err != nil {
		return err
	}
	return archive(w, func(put put) error {
		config, err := p.config.Content()
		if err != nil {
			return err
		}
		entry := dockerEntry{Config: p.config.Digest.Hex + ".json", RepoTags: []string{tag.String()}, Layers: []string{}}
		if err := put(entry.Config, config); err != nil {
			return err
		}
		for _, layer := range p.layers {
			content, err := layer.Content()
			if err != nil {
				return err
			}
			file := layer.Digest.Hex + ".tar"
			if !slices.Contains(entry.Layers, file) {
				if err := put(file, unpacked(content)); err != nil {
					return err
				}
			}
			entry.Layers = append(entry.Layers, file)
		}
		return put.json("manifest.json", []dockerEntry{entry})
	})
}

// dockerEntry is one image in the manifest.json of a Docker archive.
type dockerEntry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// unpacked decompresses a layer. What cannot be decompressed, in a hostile image,
// is passed on as it is.
func unpacked(content []byte) []byte {
	r, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return content
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		return content
	}
	return plain
}

// archive writes a tar of the files that fill stores.
func archive(w io.Writer, fill func(put) error) error {
	t := tar.NewWriter(w)
	err := fill(func(name string, content []byte) error {
		h := file(name, content).Header
		h.ModTime, h.Size = epoch, int64(len(content))
		if err := t.WriteHeader(&h); err != nil {
			return err
		}
		_, err := t.Write(content)
		return err
	})
	if err != nil {
		return err
	}
	return t.Close()
}

// layout stores the files of an OCI image layout, in a fixed order.
func layout(put put, ref string, a Artifact) error {
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
	if err := put.json("oci-layout", map[string]string{"imageLayoutVersion": "1.0.0"}); err != nil {
		return err
	}
	if err := put.json("index.json", v1.IndexManifest{
		SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{top},
	}); err != nil {
		return err
	}
	slices.SortFunc(blobs, func(a, b Blob) int { return cmp.Compare(a.Digest.Hex, b.Digest.Hex) })
	for _, b := range blobs {
		content, err := b.Content()
		if err != nil {
			return err
		}
		if err := put(path.Join("blobs", b.Digest.Algorithm, b.Digest.Hex), content); err != nil {
			return err
		}
	}
	return nil
}
