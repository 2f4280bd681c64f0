package network_test

import (
	"context"
	"errors"
	"iter"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/resource"
)

// down is networks that do not answer.
type down struct{ network.Networks }

func (down) List(context.Context, network.Filter) iter.Seq2[network.Info, error] {
	return func(yield func(network.Info, error) bool) { yield(network.Info{}, errdefs.ErrUnavailable) }
}

func TestFindEndpoint(t *testing.T) {
	ctx := t.Context()
	p := fake.Test(t, fake.Options{})
	var last network.Endpoint
	for _, name := range []string{"first", "second"} {
		n, err := p.Networks().Create(ctx, network.Spec{Name: name})
		require.NoError(t, err)
		last, err = n.Reserve(ctx, network.EndpointSpec{Name: "web"})
		require.NoError(t, err)
	}
	want, err := last.Info(ctx)
	require.NoError(t, err)
	have, err := network.FindEndpoint(ctx, last.ID(), network.Absent("none"), down{}, p.Networks())
	require.NoError(t, err)
	assert.Equal(t, want, have)
	for _, among := range [][]network.Networks{nil, {network.Absent("none")}, {p.Networks(), network.Absent("none")}} {
		_, err = network.FindEndpoint(ctx, someID, among...)
		require.ErrorIs(t, err, errdefs.ErrNotFound)
		var own *resource.Error
		require.ErrorAs(t, err, &own)
		assert.Equal(t, resource.Ref{Kind: resource.KindEndpoint, ID: someID}, own.Ref)
	}
	_, err = network.FindEndpoint(ctx, someID, down{}, p.Networks())
	require.ErrorIs(t, err, errdefs.ErrUnavailable, "it may be there")
	over, cancel := context.WithCancel(ctx)
	cancel()
	_, err = network.FindEndpoint(over, last.ID(), p.Networks(), network.Absent("none"))
	require.ErrorIs(t, err, context.Canceled)
	assert.False(t, errors.Is(err, errdefs.ErrNotFound))
}
