package containerd

import (
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/anypb"
)

// TestListedContainers: a list has all of a container but its runtime.
func TestListedContainers(t *testing.T) {
	p := openGuest(t, Options{})
	ctx := p.dress(t.Context())
	spec := guestSpec("web", "exit", "0")
	spec.Labels = map[string]string{"tier": "web"}
	inst := create(t, p, spec)
	create(t, p, guestSpec("other"))
	_, err := p.client.ContainerService().Create(ctx, containers.Container{
		ID: "foreign", Spec: &anypb.Any{TypeUrl: "none", Value: []byte("{}")}, Runtime: containers.RuntimeInfo{Name: defaultRuntime},
	})
	require.NoError(t, err)
	whole, err := p.client.ContainerService().List(ctx)
	require.NoError(t, err)
	require.Len(t, whole, 3)
	for i := range whole {
		require.NotNil(t, whole[i].Spec)
		whole[i].Spec, whole[i].Runtime = nil, containers.RuntimeInfo{}
		whole[i].UpdatedAt = time.Time{} // which nobody asks for
		if len(whole[i].Extensions) == 0 {
			whole[i].Extensions = nil
		}
	}
	listed, err := p.containers(ctx)
	require.NoError(t, err)
	require.Equal(t, whole, listed)

	one, err := p.containers(ctx, "id=="+inst.ID())
	require.NoError(t, err)
	require.Len(t, one, 1)
	none, err := p.containers(ctx, byLabel(labelName, "nobody"))
	require.NoError(t, err)
	require.Empty(t, none)
	_, err = p.containers(ctx, "labels.")
	require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
}
