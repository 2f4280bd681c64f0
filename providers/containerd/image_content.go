package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxDepth bounds how indexes may nest, and maxCandidates how many of the
// manifests of an index are looked into: those that do not say their platform
// must be read to know it.
const (
	maxDepth      = 3
	maxCandidates = 16
)

// imageContent is an image for one platform, with all that is read of it. It
// never changes, and is shared.
type imageContent struct {
	// path leads from what the name stands for to the manifest, which is last:
	// one descriptor, or indexes before it. children are what each refers to.
	path     []ocispec.Descriptor
	children [][]ocispec.Descriptor
	manifest manifest
	imageConfig
	// read is the number of bytes of the documents.
	read int64
}

// size is what the image takes as it is stored.
func (c *imageContent) size() int64 {
	size := c.manifest.config.Size
	for _, desc := range slices.Concat(c.path, c.manifest.layers) {
		size = saturate(size, desc.Size)
	}
	return size
}

// reader returns an index, a manifest or a configuration, as long as its
// descriptor says and with that digest.
type reader func(ctx context.Context, desc ocispec.Descriptor) ([]byte, error)

// errOtherPlatform is the reason to try the next manifest of an index.
var errOtherPlatform = errors.New("is for another platform")

// findContent reads the image for a platform out of what a name stands for. The
// configuration is believed, not the index. An image for other platforms only is
// FailedPrecondition, and what is no image DataLoss or FailedPrecondition.
func findContent(ctx context.Context, read reader, target ocispec.Descriptor, platform platforms.MatchComparer) (*imageContent, error) {
	target, err := bare("image", target)
	if err != nil {
		return nil, err
	}
	f := finder{read: read, platform: platform}
	return f.begin(ctx, target)
}

// findAny reads the image for whichever platform is there.
func findAny(ctx context.Context, read reader, target ocispec.Descriptor) (*imageContent, error) {
	target, err := bare("image", target)
	if err != nil {
		return nil, err
	}
	f := finder{read: read, platform: platforms.All, partial: true}
	return f.begin(ctx, target)
}

type finder struct {
	read     reader
	platform platforms.MatchComparer
	// partial passes over manifests that are not there.
	partial bool
	// met are the platforms that were found instead.
	met       []string
	looked    int
	bytesRead int64
}

func (f *finder) begin(ctx context.Context, target ocispec.Descriptor) (*imageContent, error) {
	found, err := f.find(ctx, target, nil, nil)
	if errors.Is(err, errOtherPlatform) {
		return nil, f.refusal()
	}
	return found, err
}

func (f *finder) document(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	if desc.Size > maxDocument {
		return nil, malformed("%s has %d bytes; at most %d are read", desc.Digest, desc.Size, maxDocument)
	}
	f.bytesRead += desc.Size
	return f.read(ctx, desc)
}

func (f *finder) find(ctx context.Context, desc ocispec.Descriptor, path []ocispec.Descriptor, children [][]ocispec.Descriptor) (*imageContent, error) {
	path = append(slices.Clip(path), desc)
	switch {
	case images.IsManifestType(desc.MediaType):
		return f.findManifest(ctx, desc, path, children)
	case !images.IsIndexType(desc.MediaType):
		return nil, unusable("is no container image: it is a %.100q", desc.MediaType)
	case len(path) > maxDepth:
		return nil, malformed("indexes nest deeper than %d", maxDepth)
	}
	data, err := f.document(ctx, desc)
	if err != nil {
		return nil, err
	}
	all, err := parseIndex(data, desc.MediaType)
	if err != nil {
		return nil, err
	}
	// The index keeps all that it lists, present or not: for the daemon that is
	// one set of references, whichever platforms are brought in turn.
	children = append(slices.Clip(children), all)
	var missing error
	for _, child := range f.candidates(all) {
		if f.looked++; f.looked > maxCandidates {
			break
		}
		found, err := f.find(ctx, child, path, children)
		switch {
		case err == nil:
			return found, nil
		case errors.Is(err, errOtherPlatform):
		case errdefs.IsNotFound(err) && (f.partial || child.Platform == nil):
			// What is for other platforms need not be there.
			missing = err
		default:
			return nil, err
		}
	}
	if missing != nil {
		return nil, missing
	}
	return nil, errOtherPlatform
}

// candidates are the children that may be for the platform, the best first.
func (f *finder) candidates(all []ocispec.Descriptor) []ocispec.Descriptor {
	var out []ocispec.Descriptor
	for _, desc := range all {
		if desc.Platform == nil || f.platform.Match(*desc.Platform) {
			out = append(out, desc)
		} else {
			f.met = append(f.met, platforms.Format(*desc.Platform))
		}
	}
	slices.SortStableFunc(out, func(a, b ocispec.Descriptor) int {
		switch {
		case a.Platform == nil && b.Platform == nil:
			return 0
		case a.Platform == nil:
			return 1
		case b.Platform == nil:
			return -1
		case f.platform.Less(*a.Platform, *b.Platform):
			return -1
		case f.platform.Less(*b.Platform, *a.Platform):
			return 1
		}
		return 0
	})
	return out
}

func (f *finder) findManifest(ctx context.Context, desc ocispec.Descriptor, path []ocispec.Descriptor, children [][]ocispec.Descriptor) (*imageContent, error) {
	data, err := f.document(ctx, desc)
	if err != nil {
		return nil, err
	}
	m, err := parseManifest(data, desc.MediaType)
	if err != nil {
		return nil, err
	}
	if data, err = f.document(ctx, m.config); err != nil {
		return nil, err
	}
	config, err := parseConfig(data)
	if err != nil {
		return nil, err
	}
	if !f.platform.Match(config.platform) {
		f.met = append(f.met, platforms.Format(config.platform))
		return nil, errOtherPlatform
	}
	if len(m.layers) != len(config.diffIDs) {
		return nil, malformed("manifest has %d layers and its configuration %d", len(m.layers), len(config.diffIDs))
	}
	unpacked := make(map[digest.Digest]digest.Digest, len(m.layers))
	for n, layer := range m.layers {
		if before, known := unpacked[layer.Digest]; known && before != config.diffIDs[n] {
			return nil, malformed("layer %s cannot unpack to %s and to %s", layer.Digest, before, config.diffIDs[n])
		}
		unpacked[layer.Digest] = config.diffIDs[n]
	}
	return &imageContent{
		path:        path,
		children:    append(slices.Clip(children), append([]ocispec.Descriptor{m.config}, m.layers...)),
		manifest:    m,
		imageConfig: config,
		read:        f.bytesRead,
	}, nil
}

// refusal says which platforms there are instead of the one that was asked for.
func (f *finder) refusal() error {
	slices.Sort(f.met)
	met := slices.Compact(f.met)
	const most = 10
	if len(met) > most {
		met = append(met[:most:most], "...")
	}
	if len(met) == 0 {
		return unusable("is not for this platform")
	}
	return unusable("is for another platform: %.500q", strings.Join(met, ", "))
}

// readStored reads a document out of the daemon's store.
func (s *imageStore) readStored(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	ra, err := s.blobs().ReaderAt(ctx, desc)
	if err != nil {
		return nil, err
	}
	defer ra.Close()
	if ra.Size() != desc.Size {
		return nil, malformed("%s has %d bytes and is announced with %d", desc.Digest, ra.Size(), desc.Size)
	}
	data := make([]byte, desc.Size)
	if _, err := io.ReadFull(content.NewReader(ra), data); err != nil {
		return nil, fmt.Errorf("read %s: %w", desc.Digest, err)
	}
	return data, nil
}
