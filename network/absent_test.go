package network_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

func TestAbsent(t *testing.T) {
	ctx := context.Background()
	networks := network.Absent("the backend has none")
	handle := networks.Handle(someID)
	endpoint := handle.Endpoint(someID)
	assert.Equal(t, someID, handle.ID())
	assert.Equal(t, someID, endpoint.ID())
	second := func(_ any, err error) error { return err }
	for message, err := range map[string]error{
		`create network "a"`:                      second(networks.Create(ctx, network.Spec{Name: "a"})),
		`get network "a"`:                         second(networks.Get(ctx, "a")),
		`list network`:                            second(resource.Collect(networks.List(ctx, network.Filter{}))),
		`info network "` + someID + `"`:           second(handle.Info(ctx)),
		`update network "` + someID + `"`:         handle.Update(ctx, network.Change{}),
		`delete network "` + someID + `"`:         handle.Delete(ctx, network.DeleteOptions{}),
		`reserve network "` + someID + `"`:        second(handle.Reserve(ctx, network.EndpointSpec{})),
		`list endpoints network "` + someID + `"`: second(resource.Collect(handle.Endpoints(ctx, network.EndpointFilter{}))),
		`info endpoint "` + someID + `"`:          second(endpoint.Info(ctx)),
		`release endpoint "` + someID + `"`:       endpoint.Release(ctx),
		`ensure`:                                  second(network.Ensure(ctx, networks, network.Spec{Name: "a"})),
	} {
		require.ErrorIs(t, err, errors.ErrUnsupported, message)
		var e *resource.Error
		require.ErrorAs(t, err, &e)
		if message != "ensure" {
			assert.EqualError(t, err, message+": networks is not supported: the backend has none")
		}
	}
}
