package providertest

import (
	"context"
	"iter"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	univirt "github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// TestNilsAreErrors holds that what a provider returns instead of a handle or a stream
// is told by the name of the method.
func TestNilsAreErrors(t *testing.T) {
	ctx := t.Context()
	h, err := Harness{Image: fakeImage, Open: func(context.Context, OpenOptions) (univirt.Provider, error) { return hollow{}, nil }}.completed()
	require.NoError(t, err)
	p, err := h.Open(ctx, OpenOptions{})
	require.NoError(t, err)
	require.Equal(t, hollow{}, bare(p))
	only := func(_ any, err error) error { return err }
	for method, err := range map[string]error{
		"Watch":            only(resource.Collect(p.Watch(ctx, resource.WatchOptions{}))),
		"Instances.Create": only(p.Instances().Create(ctx, compute.Spec{})),
		"Instances.Get":    only(p.Instances().Get(ctx, "web")),
		"Instances.Handle": caught(func() error { p.Instances().Handle("id"); return nil }),
		"Instances.List":   only(resource.Collect(p.Instances().List(ctx, compute.Filter{}))),
		"Instances.Stats":  only(resource.Collect(p.Instances().Stats(ctx, compute.Filter{}))),
		"Volumes.Create":   only(p.Volumes().Create(ctx, storage.Spec{})),
		"Volumes.Get":      only(p.Volumes().Get(ctx, "data")),
		"Volumes.Handle":   caught(func() error { p.Volumes().Handle("id"); return nil }),
		"Volumes.List":     only(resource.Collect(p.Volumes().List(ctx, storage.Filter{}))),
		"Networks.Create":  only(p.Networks().Create(ctx, network.Spec{})),
		"Networks.Get":     only(p.Networks().Get(ctx, "lan")),
		"Networks.Handle":  caught(func() error { p.Networks().Handle("id"); return nil }),
		"Networks.List":    only(resource.Collect(p.Networks().List(ctx, network.Filter{}))),
	} {
		assert.ErrorContains(t, err, method+" returned nil")
	}
	_, err = newSuite(ctx, Harness{Image: fakeImage, Open: func(context.Context, OpenOptions) (univirt.Provider, error) {
		return (*saboteur)(nil), nil
	}})
	require.ErrorContains(t, err, "Open returned nil, and no error")
	_, err = newSuite(ctx, Harness{Image: fakeImage, Open: func(context.Context, OpenOptions) (univirt.Provider, error) {
		return noImages{}, nil
	}})
	require.ErrorContains(t, err, "Images returned nil")
}

// hollow is a provider whose methods return nil.
type hollow struct{ univirt.Provider }

func (hollow) Instances() compute.Instances { return hollowInstances{} }
func (hollow) Images() compute.Images       { return compute.AbsentImages("") }
func (hollow) Volumes() storage.Volumes     { return hollowVolumes{} }
func (hollow) Networks() network.Networks   { return hollowNetworks{} }
func (hollow) Close() error                 { return nil }

func (hollow) Watch(context.Context, resource.WatchOptions) iter.Seq2[resource.Event, error] {
	return nil
}

type hollowInstances struct{}

func (hollowInstances) Create(context.Context, compute.Spec) (compute.Instance, error) {
	return nil, nil
}
func (hollowInstances) Get(context.Context, string) (compute.Instance, error) {
	return (*emptyInstance)(nil), nil
}
func (hollowInstances) Handle(string) compute.Instance { return nil }
func (hollowInstances) List(context.Context, compute.Filter) iter.Seq2[compute.Info, error] {
	return nil
}
func (hollowInstances) Stats(context.Context, compute.Filter) iter.Seq2[compute.Stats, error] {
	return nil
}

type emptyInstance struct{ compute.Instance }

type hollowVolumes struct{}

func (hollowVolumes) Create(context.Context, storage.Spec) (storage.Volume, error) { return nil, nil }
func (hollowVolumes) Get(context.Context, string) (storage.Volume, error)          { return nil, nil }
func (hollowVolumes) Handle(string) storage.Volume                                 { return nil }
func (hollowVolumes) List(context.Context, storage.Filter) iter.Seq2[storage.Info, error] {
	return nil
}

type hollowNetworks struct{}

func (hollowNetworks) Create(context.Context, network.Spec) (network.Network, error) { return nil, nil }
func (hollowNetworks) Get(context.Context, string) (network.Network, error)          { return nil, nil }
func (hollowNetworks) Handle(string) network.Network                                 { return nil }
func (hollowNetworks) List(context.Context, network.Filter) iter.Seq2[network.Info, error] {
	return nil
}

// noImages is a provider that says by nil that it has no images.
type noImages struct{ hollow }

func (noImages) Images() compute.Images { return nil }
