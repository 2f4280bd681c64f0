package containerd

import (
	"context"

	"github.com/containerd/containerd/v2/core/images"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/univirt/univirt/internal/callbacks"
)

// source is where the content of an image comes from.
type source interface {
	// document returns an index, a manifest or a configuration, and sees to it
	// that it is in the store, under the context's lease.
	document(ctx context.Context, desc ocispec.Descriptor) ([]byte, error)
	// layer sees to the same for a layer.
	layer(ctx context.Context, desc ocispec.Descriptor) error
}

// install brings what a name stands for into the store and unpacks it. The
// context has a lease.
type install struct {
	store    *imageStore
	source   source
	platform platform
	verify   func(ctx context.Context, ref, digest string) error
	progress *progress
	// fetching is the phase until all layers are in the store.
	fetching string
}

func (i *install) run(ctx context.Context, n named) (*imageContent, error) {
	found, err := findContent(ctx, i.source.document, n.target, i.platform)
	if err != nil {
		return nil, err
	}
	if err := i.check(ctx, n); err != nil {
		return nil, err
	}
	i.progress.layers(found.manifest.layers)
	i.progress.phase(i.fetching)
	if err := i.unpack(ctx, found); err != nil {
		return nil, err
	}
	return found, i.link(ctx, found)
}

// check asks the caller's hook.
func (i *install) check(ctx context.Context, n named) error {
	if i.verify == nil {
		return nil
	}
	i.progress.phase(phaseVerifying)
	_, err := callbacks.Run(i.store.p.alive, func() (struct{}, error) {
		return struct{}{}, i.verify(ctx, n.name, n.target.Digest.String())
	})
	return refused(err)
}

// link lets each document keep what it refers to from being collected.
func (i *install) link(ctx context.Context, found *imageContent) error {
	for n, desc := range found.path {
		children := images.HandlerFunc(func(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) {
			return found.children[n], nil
		})
		if _, err := images.SetChildrenLabels(i.store.blobs(), children)(ctx, desc); err != nil {
			return err
		}
	}
	return nil
}
