package containerd

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// Indexes, manifests and configurations are anybody's text. What is read of
// them is bounded, and so is what they may refer to.
const (
	maxDocument = 8 << 20
	maxParts    = 1000
)

// malformed is the error of a document that is not what its place demands.
func malformed(format string, args ...any) error {
	return resource.Errorf(errdefs.ErrDataLoss, format, args...)
}

// unusable is the error of content that is sound and no image for us.
func unusable(format string, args ...any) error {
	return resource.Errorf(errdefs.ErrFailedPrecondition, format, args...)
}

// document is an index or a manifest: one type for both, so that text that
// could be read as either is refused.
type document struct {
	MediaType string               `json:"mediaType"`
	Config    *ocispec.Descriptor  `json:"config"`
	Layers    []ocispec.Descriptor `json:"layers"`
	Manifests []ocispec.Descriptor `json:"manifests"`
}

func parseDocument(data []byte, mediaType string) (document, error) {
	var doc document
	if err := json.Unmarshal(data, &doc); err != nil {
		return document{}, malformed("manifest: %w", err)
	}
	if doc.MediaType != "" && doc.MediaType != mediaType {
		return document{}, malformed("manifest is announced as %q and says that it is %q", mediaType, doc.MediaType)
	}
	return doc, nil
}

// parseIndex returns the manifests that an index lists.
func parseIndex(data []byte, mediaType string) ([]ocispec.Descriptor, error) {
	doc, err := parseDocument(data, mediaType)
	switch {
	case err != nil:
		return nil, err
	case doc.Config != nil || len(doc.Layers) > 0:
		return nil, malformed("index has the parts of a manifest")
	case len(doc.Manifests) == 0:
		return nil, malformed("index lists nothing")
	}
	return bareAll("manifests", doc.Manifests)
}

// manifest is what there is to know of an image for one platform.
type manifest struct {
	config ocispec.Descriptor
	layers []ocispec.Descriptor
}

func parseManifest(data []byte, mediaType string) (manifest, error) {
	doc, err := parseDocument(data, mediaType)
	switch {
	case err != nil:
		return manifest{}, err
	case len(doc.Manifests) > 0:
		return manifest{}, malformed("manifest has the parts of an index")
	case doc.Config == nil:
		return manifest{}, malformed("manifest has no configuration")
	}
	config, err := bare("config", *doc.Config)
	if err != nil {
		return manifest{}, err
	}
	if !images.IsConfigType(config.MediaType) {
		return manifest{}, unusable("is no container image: its configuration is a %q", config.MediaType)
	}
	layers, err := bareAll("layers", doc.Layers)
	if err != nil {
		return manifest{}, err
	}
	for i, layer := range layers {
		if !images.IsLayerType(layer.MediaType) {
			return manifest{}, unusable("is no container image: layers[%d] is a %q", i, layer.MediaType)
		}
	}
	return manifest{config: config, layers: layers}, nil
}

func bareAll(field string, descs []ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	if len(descs) > maxParts {
		return nil, malformed("%s has %d entries; at most %d are read", field, len(descs), maxParts)
	}
	out := make([]ocispec.Descriptor, len(descs))
	for i, desc := range descs {
		var err error
		if out[i], err = bare(fmt.Sprintf("%s[%d]", field, i), desc); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// bare checks a descriptor and leaves out what could make the daemon or us do
// more than read that content from its registry: addresses to fetch it from,
// annotations that become labels of snapshots, embedded data.
func bare(field string, desc ocispec.Descriptor) (ocispec.Descriptor, error) {
	if err := desc.Digest.Validate(); err != nil {
		return ocispec.Descriptor{}, malformed("%s.digest: %w: %.100q", field, err, desc.Digest)
	}
	if desc.Size <= 0 {
		return ocispec.Descriptor{}, malformed("%s.size is %d", field, desc.Size)
	}
	return ocispec.Descriptor{
		MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size, Platform: desc.Platform,
	}, nil
}

// imageConfig is what an image's configuration says.
type imageConfig struct {
	platform ocispec.Platform
	created  time.Time
	run      compute.ImageConfig
	diffIDs  []digest.Digest
}

// configDocument is the part of an image's configuration that is read
// (https://github.com/opencontainers/image-spec/blob/main/config.md).
type configDocument struct {
	Created *time.Time `json:"created"`
	ocispec.Platform
	Config struct {
		User         string              `json:"User"`
		ExposedPorts map[string]struct{} `json:"ExposedPorts"`
		Env          []string            `json:"Env"`
		Entrypoint   []string            `json:"Entrypoint"`
		Cmd          []string            `json:"Cmd"`
		Volumes      map[string]struct{} `json:"Volumes"`
		WorkingDir   string              `json:"WorkingDir"`
		Labels       map[string]string   `json:"Labels"`
		StopSignal   string              `json:"StopSignal"`
	} `json:"config"`
	RootFS struct {
		Type    string          `json:"type"`
		DiffIDs []digest.Digest `json:"diff_ids"`
	} `json:"rootfs"`
}

func parseConfig(data []byte) (imageConfig, error) {
	var doc configDocument
	if err := json.Unmarshal(data, &doc); err != nil {
		return imageConfig{}, malformed("configuration: %w", err)
	}
	if doc.OS == "" || doc.Architecture == "" {
		return imageConfig{}, malformed("configuration does not say for which platform it is")
	}
	if doc.RootFS.Type != "" && doc.RootFS.Type != "layers" {
		return imageConfig{}, malformed("configuration: rootfs.type is %.100q", doc.RootFS.Type)
	}
	if len(doc.RootFS.DiffIDs) > maxParts {
		return imageConfig{}, malformed("configuration: rootfs.diff_ids has %d entries; at most %d are read", len(doc.RootFS.DiffIDs), maxParts)
	}
	for i, id := range doc.RootFS.DiffIDs {
		if err := id.Validate(); err != nil {
			return imageConfig{}, malformed("configuration: rootfs.diff_ids[%d]: %w: %.100q", i, err, id)
		}
	}
	c := doc.Config
	// NUL cannot be passed to a process; everything else can.
	for _, text := range []struct {
		field  string
		values []string
	}{
		{"User", []string{c.User}}, {"Env", c.Env}, {"Entrypoint", c.Entrypoint}, {"Cmd", c.Cmd},
		{"WorkingDir", []string{c.WorkingDir}}, {"StopSignal", []string{c.StopSignal}},
	} {
		if slices.ContainsFunc(text.values, func(s string) bool { return strings.ContainsRune(s, 0) }) {
			return imageConfig{}, malformed("configuration: %s contains NUL", text.field)
		}
	}
	out := imageConfig{
		platform: platforms.Normalize(doc.Platform),
		diffIDs:  doc.RootFS.DiffIDs,
		run: compute.ImageConfig{
			Entrypoint: c.Entrypoint, Cmd: c.Cmd, Env: c.Env,
			User: c.User, Dir: c.WorkingDir, StopSignal: c.StopSignal,
			Ports:   slices.Sorted(maps.Keys(c.ExposedPorts)),
			Volumes: slices.Sorted(maps.Keys(c.Volumes)),
			Labels:  c.Labels,
		},
	}
	if doc.Created != nil {
		out.created = *doc.Created
	}
	return out, nil
}

// chainID names the snapshot of all layers together; empty where there are
// none.
func (c imageConfig) chainID() string { return identity.ChainID(c.diffIDs).String() }

// saturate adds sizes that somebody made up without wrapping around.
func saturate(a, b int64) int64 {
	if sum := a + b; sum >= a {
		return sum
	}
	return 1<<63 - 1
}
