package containerd

import (
	"context"
	"iter"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// Describe implements univirt.Provider.
func (p *Provider) Describe(ctx context.Context) (univirt.Description, error) {
	return univirt.Description{Provider: Scheme, Namespace: p.opts.Namespace, Owner: p.owner, DefaultKind: compute.Container,
		Kinds: map[compute.Kind]univirt.KindDescription{compute.Container: Containers()}}, nil
}

// Watch implements univirt.Provider.
func (p *Provider) Watch(ctx context.Context, opts resource.WatchOptions) iter.Seq2[resource.Event, error] {
	return func(yield func(resource.Event, error) bool) {}
}

// Stats implements compute.Instances.
func (s instances) Stats(ctx context.Context, filter compute.Filter) iter.Seq2[compute.Stats, error] {
	return func(yield func(compute.Stats, error) bool) {}
}
