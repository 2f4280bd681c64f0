package containerd

import (
	"context"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/univirt/univirt/compute"
)

// resolvedImage is an image as an instance is made of it.
type resolvedImage struct {
	// Name is the name in full; one of the names for an image given by its ID.
	Name string
	// ID is the image's digest, which the name meant when it was resolved.
	ID string
	// Config is shared and must not be changed.
	Config       compute.ImageConfig
	ConfigDigest digest.Digest
	Platform     compute.Platform
	// ChainID is the key of the snapshot of all layers; empty without layers.
	ChainID string

	record images.Image
}

// resolve finds the image of a spec and brings it as the policy says. An image
// that is there and was read before costs one call. The error has the field
// "image".
func (s *imageStore) resolve(ctx context.Context, image string, policy compute.PullPolicy) (resolvedImage, error) {
	resolved, err := s.resolveOrPull(ctx, image, policy)
	return resolved, atField("image", err)
}

func (s *imageStore) resolveOrPull(ctx context.Context, image string, policy compute.PullPolicy) (resolvedImage, error) {
	// An ID cannot mean anything else tomorrow, nor be asked for at a registry.
	if isImageID(image) {
		policy = compute.PullNever
	}
	if policy != compute.PullAlways {
		resolved, err := s.resolveStored(ctx, image)
		missing := errdefs.IsNotFound(err) || errdefs.IsFailedPrecondition(err)
		if err == nil || !missing || policy == compute.PullNever {
			return resolved, translate(ctx, err)
		}
	}
	pulled, err := s.pull(ctx, image, compute.PullOptions{})
	if err != nil {
		return resolvedImage{}, err
	}
	return s.resolved(pulled.name, pulled.record, pulled.content), nil
}

func (s *imageStore) resolveStored(ctx context.Context, image string) (resolvedImage, error) {
	name, record, err := s.find(ctx, image)
	if err != nil {
		return resolvedImage{}, err
	}
	found, err := s.stored(ctx, record.Target)
	if err != nil {
		return resolvedImage{}, err
	}
	return s.resolved(name, record, found), nil
}

func (s *imageStore) resolved(name string, record images.Image, found *imageContent) resolvedImage {
	return resolvedImage{
		Name:         name,
		ID:           record.Target.Digest.String(),
		Config:       found.run,
		ConfigDigest: found.manifest.config.Digest,
		Platform:     portable(found.platform),
		ChainID:      found.chainID(),
		record:       record,
	}
}

// unpack makes the snapshots of an image whose layers are there: somebody
// removed them, or another tool brought the image.
func (s *imageStore) unpack(ctx context.Context, image resolvedImage) error {
	found, err := s.stored(ctx, image.record.Target)
	if err != nil {
		return translate(ctx, err)
	}
	return translate(ctx, s.underLease(ctx, keep, func(ctx context.Context) error {
		i := install{store: s, source: present{s}}
		if err := i.unpack(ctx, found); err != nil {
			return err
		}
		return i.link(ctx, found)
	}))
}

// present is the source of an image that is in the store.
type present struct{ s *imageStore }

var _ source = present{}

func (p present) document(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	return p.s.readStored(ctx, desc)
}

func (p present) layer(ctx context.Context, desc ocispec.Descriptor) error {
	if err := p.s.pin(ctx, "content", desc.Digest.String()); err != nil {
		return err
	}
	_, err := p.s.blobs().Info(ctx, desc.Digest)
	if errdefs.IsNotFound(err) {
		return unusable("layer %s is not there any more", desc.Digest)
	}
	return err
}
