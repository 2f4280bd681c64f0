package containerd

import (
	"archive/tar"
	"context"
	"encoding/json"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// readOCI reads a tar archive of an OCI image layout
// (https://github.com/opencontainers/image-spec/blob/main/image-layout.md).
func readOCI(ctx context.Context, a *archive) ([]listed, error) {
	var layout, index []byte
	err := a.each(func(name string, header *tar.Header) (err error) {
		switch name {
		case ocispec.ImageLayoutFile:
			layout, err = a.text(header)
		case ocispec.ImageIndexFile:
			index, err = a.text(header)
		default:
			if id, ok := blobID(name); ok && header.Typeflag == tar.TypeReg {
				_, _, err = a.blob(ctx, header, id)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := checkLayout(layout); err != nil {
		return nil, err
	}
	return parseLayoutIndex(index)
}

// blobID returns the digest that a file of a layout is named after.
func blobID(name string) (digest.Digest, bool) {
	rest, ok := strings.CutPrefix(name, ocispec.ImageBlobsDir+"/")
	if !ok {
		return "", false
	}
	algorithm, hex, ok := strings.Cut(rest, "/")
	id := digest.NewDigestFromEncoded(digest.Algorithm(algorithm), hex)
	return id, ok && id.Validate() == nil
}

func checkLayout(data []byte) error {
	if data == nil {
		return badArchive("it has no file %s", ocispec.ImageLayoutFile)
	}
	var layout ocispec.ImageLayout
	if err := json.Unmarshal(data, &layout); err != nil {
		return badArchive("%s: %w", ocispec.ImageLayoutFile, err)
	}
	if layout.Version != ocispec.ImageLayoutVersion {
		return badArchive("its version is %.100q; %s is read", layout.Version, ocispec.ImageLayoutVersion)
	}
	return nil
}

// parseLayoutIndex returns the images that a layout lists.
func parseLayoutIndex(data []byte) ([]listed, error) {
	if data == nil {
		return nil, badArchive("it has no file %s", ocispec.ImageIndexFile)
	}
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, badArchive("%s: %w", ocispec.ImageIndexFile, err)
	}
	if len(index.Manifests) > maxParts {
		return nil, badArchive("it lists %d images; at most %d are read", len(index.Manifests), maxParts)
	}
	var out []listed
	for _, entry := range index.Manifests {
		if !images.IsManifestType(entry.MediaType) && !images.IsIndexType(entry.MediaType) {
			continue
		}
		target, err := bare(ocispec.ImageIndexFile, entry)
		if err != nil {
			return nil, err
		}
		l := listed{named: named{target: target}}
		if text := layoutName(entry.Annotations); text == "" {
			l.unnamed = true
		} else if l.name, err = archiveName(text, target.Digest); err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

// layoutName returns what an entry of a layout calls itself: the annotation that
// containerd and Docker write, else the standard one where it is more than a
// tag.
func layoutName(annotations map[string]string) string {
	if name := annotations[images.AnnotationImageName]; name != "" {
		return name
	}
	if name := annotations[ocispec.AnnotationRefName]; strings.ContainsAny(name, "/:@") {
		return name
	}
	return ""
}
