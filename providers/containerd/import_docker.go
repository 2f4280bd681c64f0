package containerd

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"path"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const dockerListFile = "manifest.json"

// dockerEntry is one image in the list of a Docker archive
// (https://github.com/moby/docker-image-spec/blob/main/v1.2.md).
type dockerEntry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// dockerFile is a file of a Docker archive that is in the store.
type dockerFile struct {
	ocispec.Descriptor
	magic []byte
}

// readDocker reads what "docker save" writes, in its old form, where each layer
// is a folder, and in the new one, which is a layout too.
func readDocker(ctx context.Context, a *archive) ([]listed, error) {
	var list []byte
	files := make(map[string]dockerFile)
	links := make(map[string]string)
	err := a.each(func(name string, header *tar.Header) error {
		var err error
		switch {
		case name == dockerListFile:
			list, err = a.text(header)
		case header.Typeflag == tar.TypeSymlink:
			// The old form has a layer that occurs twice once.
			links[name] = path.Join("/", path.Dir(name), header.Linkname)[1:]
		case header.Typeflag == tar.TypeReg:
			var f dockerFile
			if f.Descriptor, f.magic, err = a.blob(ctx, header, ""); f.Size > 0 {
				files[name] = f
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	entries, err := parseDockerList(list)
	if err != nil {
		return nil, err
	}
	var out []listed
	for _, entry := range entries {
		target, err := a.dockerManifest(ctx, entry, func(name string) (dockerFile, bool) {
			if to, linked := links[name]; linked {
				name = to
			}
			f, ok := files[name]
			return f, ok
		})
		if err != nil {
			return nil, err
		}
		if len(entry.RepoTags) == 0 {
			out = append(out, listed{named: named{target: target}, unnamed: true})
		}
		for _, tag := range entry.RepoTags {
			name, err := archiveName(tag, target.Digest)
			if err != nil {
				return nil, err
			}
			out = append(out, listed{named: named{name, target}})
		}
	}
	return out, nil
}

func parseDockerList(data []byte) ([]dockerEntry, error) {
	if data == nil {
		return nil, badArchive("it has no file %s", dockerListFile)
	}
	var entries []dockerEntry
	if err := json.Unmarshal(data, &entries); err != nil {
		return nil, badArchive("%s: %w", dockerListFile, err)
	}
	parts := len(entries)
	for _, entry := range entries {
		parts += len(entry.RepoTags) + len(entry.Layers)
	}
	if parts > maxParts {
		return nil, badArchive("%s has %d entries; at most %d are read", dockerListFile, parts, maxParts)
	}
	return entries, nil
}

// dockerManifest makes the manifest that a Docker archive lacks. The same image
// gives the same manifest.
func (a *archive) dockerManifest(ctx context.Context, entry dockerEntry, file func(string) (dockerFile, bool)) (ocispec.Descriptor, error) {
	config, ok := file(entry.Config)
	if !ok {
		return ocispec.Descriptor{}, malformed("the archive has no configuration %.200q", entry.Config)
	}
	doc := ocispec.Manifest{
		MediaType: images.MediaTypeDockerSchema2Manifest,
		Config:    ocispec.Descriptor{MediaType: images.MediaTypeDockerSchema2Config, Digest: config.Digest, Size: config.Size},
		Layers:    []ocispec.Descriptor{},
	}
	doc.SchemaVersion = 2
	for _, name := range entry.Layers {
		layer, ok := file(name)
		if !ok {
			return ocispec.Descriptor{}, malformed("the archive has no layer %.200q", name)
		}
		doc.Layers = append(doc.Layers, ocispec.Descriptor{MediaType: layerType(layer.magic), Digest: layer.Digest, Size: layer.Size})
	}
	data, err := json.Marshal(doc)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	target := ocispec.Descriptor{MediaType: doc.MediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	a.sizes[target.Digest] = target.Size
	return target, content.WriteBlob(ctx, a.store.ingester(), "manifest-"+target.Digest.String(), bytes.NewReader(data), target)
}

// layerType says how a layer is compressed, which the format does not.
func layerType(magic []byte) string {
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return images.MediaTypeDockerSchema2LayerGzip
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return images.MediaTypeDockerSchema2LayerZstd
	}
	return images.MediaTypeDockerSchema2Layer
}
