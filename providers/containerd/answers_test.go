package containerd

import (
	"context"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	testregistry "github.com/univirt/univirt/providers/providertest/registry"
)

// TestAnswersAreAwaited cancels what makes something while containerd makes it,
// which it then does all the same: nothing must be left.
func TestAnswersAreAwaited(t *testing.T) {
	registry := testregistry.Test(t)
	remote := push(t, registry, "app:v1", dataImage(t, 1, 512))
	create := func(ctx context.Context, p *Provider) error {
		_, err := p.Instances().Create(ctx, guestSpec("web", "sleep", "1h"))
		return err
	}
	pull := func(ctx context.Context, p *Provider) error {
		_, err := p.Images().Pull(ctx, remote, compute.PullOptions{})
		return err
	}
	for name, c := range map[string]struct {
		slow func(*Provider, *slowCall) client.ServicesOpt
		do   func(context.Context, *Provider) error
	}{
		"the lease of a value":   {slowLeases, create},
		"the lease of a pull":    {slowLeases, pull},
		"the snapshot of a name": {slowSnapshots, create},
		"the container":          {slowContainers, create},
	} {
		t.Run(name, func(t *testing.T) {
			p := openGuest(t, Options{})
			before, err := inventory(t.Context(), p.space)
			require.NoError(t, err)
			call := &slowCall{begun: make(chan struct{}), goOn: make(chan struct{}), over: make(chan struct{})}
			slow, err := client.New(p.conn.address, client.WithServices(c.slow(p, call)))
			require.NoError(t, err)
			t.Cleanup(func() { assert.NoError(t, slow.Close()) })
			fast := p.client
			p.client = slow
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- c.do(ctx, p) }()
			soon(t, "the call", call.begun)
			cancel()
			awaited := call.ctx.Err() == nil
			if !awaited {
				// The undo comes first then, and the effect behind it.
				require.ErrorIs(t, <-done, context.Canceled)
			}
			close(call.goOn)
			soon(t, "the effect", call.over)
			if awaited {
				if err := <-done; err != nil {
					require.ErrorIs(t, err, context.Canceled)
				} else {
					// It was made before anybody looked at the context.
					require.NoError(t, p.Instances().Handle(instanceID(t, p, "web")).Delete(t.Context(), compute.DeleteOptions{}))
				}
			}
			p.client = fast
			require.NoError(t, p.Close()) // what carries its generation is counted now
			left, err := inventory(t.Context(), p.space)
			require.NoError(t, err)
			assert.Equal(t, before, left)
		})
	}
}

func instanceID(t *testing.T, p *Provider, name string) string {
	t.Helper()
	inst, err := p.Instances().Get(t.Context(), name)
	require.NoError(t, err)
	return inst.ID()
}

// slowCall is a call that containerd has received, and carries out when it is told
// to, whether or not anybody waits for the answer.
type slowCall struct {
	begun, goOn, over chan struct{}
	ctx               context.Context // once begun
}

// slowly makes a call. The first is slow.
func slowly[T any](s *slowCall, ctx context.Context, call func(context.Context) (T, error)) (T, error) {
	var out T
	var err error
	if s.ctx != nil {
		return call(ctx)
	}
	s.ctx = ctx
	go func() {
		defer close(s.over)
		<-s.goOn
		out, err = call(context.WithoutCancel(ctx))
	}()
	close(s.begun)
	select {
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	case <-s.over:
		return out, err
	}
}

type leaseManager struct {
	leases.Manager
	call *slowCall
}

func slowLeases(p *Provider, call *slowCall) client.ServicesOpt {
	return client.WithLeasesService(leaseManager{p.client.LeasesService(), call})
}

func (m leaseManager) Create(ctx context.Context, opts ...leases.Opt) (leases.Lease, error) {
	return slowly(m.call, ctx, func(ctx context.Context) (leases.Lease, error) { return m.Manager.Create(ctx, opts...) })
}

type snapshotter struct {
	snapshots.Snapshotter
	call *slowCall
}

func slowSnapshots(p *Provider, call *slowCall) client.ServicesOpt {
	return client.WithSnapshotters(map[string]snapshots.Snapshotter{
		p.snapshotter: snapshotter{p.client.SnapshotService(p.snapshotter), call},
	})
}

func (s snapshotter) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	return slowly(s.call, ctx, func(ctx context.Context) ([]mount.Mount, error) {
		return s.Snapshotter.Prepare(ctx, key, parent, opts...)
	})
}

type containerStore struct {
	containers.Store
	call *slowCall
}

func slowContainers(p *Provider, call *slowCall) client.ServicesOpt {
	return client.WithContainerStore(containerStore{p.client.ContainerService(), call})
}

func (s containerStore) Create(ctx context.Context, c containers.Container) (containers.Container, error) {
	return slowly(s.call, ctx, func(ctx context.Context) (containers.Container, error) { return s.Store.Create(ctx, c) })
}
