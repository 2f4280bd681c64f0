package fake_test

import (
	"context"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/resource"
)

// elsewhere is networks of which each call is another provider's.
type elsewhere struct{ network.Networks }

type elsewhereNetwork struct{ network.Network }

type elsewhereEndpoint struct{ network.Endpoint }

func (e elsewhereEndpoint) Info(ctx context.Context) (network.EndpointInfo, error) {
	info, err := e.Endpoint.Info(ctx)
	info.Ref.Provider = "elsewhere"
	return info, err
}

func (e elsewhere) Handle(id string) network.Network { return elsewhereNetwork{e.Networks.Handle(id)} }

func (n elsewhereNetwork) Endpoint(id string) network.Endpoint {
	return elsewhereEndpoint{n.Network.Endpoint(id)}
}

func TestInstancesOfTwoNamespacesShareANetwork(t *testing.T) {
	a := withPrograms(t, linePrograms)
	ctx := t.Context()
	lan := createNetwork(t, a, network.Spec{Name: "lan"})
	b := fake.Test(t, fake.Options{Backend: a.Backend(), Namespace: "b", OtherNetworks: []network.Networks{a.Networks()}})
	endpoint, err := lan.Reserve(ctx, network.EndpointSpec{Name: "server"})
	require.NoError(t, err)
	promised, err := endpoint.Info(ctx)
	require.NoError(t, err)
	web := placed(t, b, "web", []string{"server"}, compute.NetworkAttachment{Endpoint: endpoint.ID()})
	near := placed(t, a, "near", []string{"sleep", "1h"}, compute.NetworkAttachment{Network: "lan"})
	text, err := query(t, near, "client", "server:80")
	require.NoError(t, err)
	assert.Equal(t, "web heard hello", text)
	info, err := web.Info(ctx)
	require.NoError(t, err)
	promised.PluggedIn = true
	assert.Equal(t, []network.EndpointInfo{promised}, info.Endpoints)
	require.ErrorIs(t, endpoint.Release(ctx), errdefs.ErrFailedPrecondition)

	require.NoError(t, compute.DetachNetwork(ctx, web, endpoint.ID()))
	_, err = query(t, near, "client", "server:80")
	require.Error(t, err)
	require.NoError(t, compute.AttachNetwork(ctx, web, compute.NetworkAttachment{Endpoint: endpoint.ID()}))
	text, err = query(t, near, "client", "server:80")
	require.NoError(t, err)
	assert.Equal(t, "web heard hello", text)
	clone, err := compute.Clone(ctx, near, compute.CloneOptions{Name: "copy"})
	require.NoError(t, err)
	require.ErrorIs(t, compute.AttachNetwork(ctx, clone, compute.NetworkAttachment{Endpoint: endpoint.ID()}), errdefs.ErrFailedPrecondition)
	require.NoError(t, web.Delete(ctx, compute.DeleteOptions{Force: true}))
	require.NoError(t, endpoint.Release(ctx))
}

func TestAnEndpointOfAnotherHost(t *testing.T) {
	ctx := t.Context()
	a, closed := fake.Test(t, fake.Options{}), fake.Test(t, fake.Options{Seed: 1})
	endpoint, err := createNetwork(t, a, network.Spec{Name: "lan"}).Reserve(ctx, network.EndpointSpec{})
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	for name, c := range map[string]struct {
		others []network.Networks
		kind   error
		says   string
	}{
		"another backend":             {[]network.Networks{closed.Networks(), a.Networks()}, errdefs.ErrFailedPrecondition, "another backend"},
		"another provider":            {[]network.Networks{network.Absent("none"), elsewhere{a.Networks()}}, errdefs.ErrFailedPrecondition, "no host interfaces"},
		"a value that is closed":      {[]network.Networks{closed.Networks()}, errdefs.ErrUnavailable, "cannot be asked"},
		"a provider without networks": {[]network.Networks{network.Absent("none")}, errdefs.ErrNotFound, "there is no endpoint"},
	} {
		t.Run(name, func(t *testing.T) {
			b := fake.Test(t, fake.Options{Seed: 2, OtherNetworks: c.others})
			_, err := b.Instances().Create(ctx, compute.Spec{
				Name: "web", Image: "alpine", Networks: []compute.NetworkAttachment{{Endpoint: endpoint.ID()}},
			})
			require.ErrorIs(t, err, c.kind)
			require.ErrorContains(t, err, c.says)
			var own *resource.Error
			require.ErrorAs(t, err, &own)
			assert.Equal(t, "networks[0].endpoint", own.Field)
		})
	}
	faults := fake.Options{OtherNetworks: []network.Networks{nil}}.Validate()
	require.Len(t, faults, 1)
	assert.Equal(t, "otherNetworks[0]", faults[0].Field)
}
