package network_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// memory is one network at most, in memory.
type memory struct {
	mu       sync.Mutex
	info     *network.Info
	revision int
	// interfere is called before each update, as another process would act.
	interfere func(*memory)
	updates   int
	clash     bool
}

var (
	_ network.Networks = (*networks)(nil)
	_ network.Network  = (*handle)(nil)
)

type networks struct {
	network.Networks
	m *memory
}

type handle struct {
	network.Network
	m *memory
}

func (n *networks) Create(_ context.Context, spec network.Spec) (network.Network, error) {
	n.m.mu.Lock()
	defer n.m.mu.Unlock()
	if n.m.clash || n.m.info != nil {
		return nil, resource.Fail("create", resource.Ref{Name: spec.Name}, errdefs.ErrAlreadyExists)
	}
	stored := spec.Clone()
	n.m.info = &network.Info{Ref: resource.Ref{Name: spec.Name}, Managed: true, Spec: &stored, Labels: stored.Labels, Annotations: stored.Annotations}
	return &handle{m: n.m}, nil
}

func (n *networks) Get(_ context.Context, name string) (network.Network, error) {
	n.m.mu.Lock()
	defer n.m.mu.Unlock()
	if n.m.info == nil {
		return nil, resource.Fail("get", resource.Ref{Name: name}, errdefs.ErrNotFound)
	}
	return &handle{m: n.m}, nil
}

func (h *handle) Info(context.Context) (network.Info, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	info := *h.m.info
	info.Revision = strconv.Itoa(h.m.revision)
	return info, nil
}

func (h *handle) Update(_ context.Context, change network.Change) error {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if h.m.interfere != nil {
		h.m.interfere(h.m)
	}
	if change.IfRevision != "" && change.IfRevision != strconv.Itoa(h.m.revision) {
		return resource.Fail("update", h.m.info.Ref, errdefs.ErrAborted)
	}
	h.m.updates++
	h.m.revision++
	spec := h.m.info.Spec.Clone()
	spec.Labels = change.Labels.Apply(spec.Labels)
	spec.Annotations = resource.Annotations(change.Annotations.Apply(resource.Labels(spec.Annotations)))
	h.m.info = &network.Info{Ref: h.m.info.Ref, Managed: true, Spec: &spec, Labels: spec.Labels, Annotations: spec.Annotations}
	return nil
}

func TestEnsure(t *testing.T) {
	ctx := context.Background()
	m := &memory{}
	all := &networks{m: m}
	spec := full()
	for range 3 {
		n, err := network.Ensure(ctx, all, spec)
		require.NoError(t, err)
		require.NotNil(t, n)
	}
	assert.Zero(t, m.updates, "what is as wanted is left alone")

	spec.Labels["tier"] = "frontend"
	spec.Annotations["more"] = "text"
	_, err := network.Ensure(ctx, all, spec)
	require.NoError(t, err)
	assert.Equal(t, 1, m.updates)
	assert.Equal(t, resource.Labels{"tier": "frontend"}, m.info.Labels)
	assert.Equal(t, resource.Annotations{"note": "any text", "more": "text"}, m.info.Annotations)

	_, err = network.Ensure(ctx, all, network.Spec{Name: spec.Name})
	require.NoError(t, err, "what is zero is left as it is")
	assert.Equal(t, 1, m.updates)

	spec.MTU = 9000
	n, err := network.Ensure(ctx, all, spec)
	assert.Nil(t, n)
	assert.True(t, errdefs.IsFailedPrecondition(err))
	var e *resource.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, "mtu", e.Field)
	assert.EqualError(t, err, `ensure "backend": mtu: differs from what exists and cannot be changed`)
}

func TestEnsureComparesAgainAfterAConflict(t *testing.T) {
	m := &memory{}
	all := &networks{m: m}
	_, err := network.Ensure(context.Background(), all, network.Spec{Name: "a"})
	require.NoError(t, err)
	left := 3
	m.interfere = func(m *memory) {
		if left > 0 {
			left--
			m.revision++
		}
	}
	_, err = network.Ensure(context.Background(), all, network.Spec{Name: "a", Labels: resource.Labels{"a": "1"}})
	require.NoError(t, err)
	assert.Equal(t, 1, m.updates)

	m.interfere = func(m *memory) { m.revision++ }
	_, err = network.Ensure(context.Background(), all, network.Spec{Name: "a", Labels: resource.Labels{"a": "2"}})
	assert.True(t, errdefs.IsAborted(err), "not for ever: %v", err)
}

func TestEnsureAtOnce(t *testing.T) {
	m := &memory{}
	var group sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		group.Go(func() {
			_, errs[i] = network.Ensure(context.Background(), &networks{m: m}, network.Spec{Name: "a", Labels: resource.Labels{"a": "1"}})
		})
	}
	group.Wait()
	assert.NoError(t, errors.Join(errs...))
}

func TestEnsureOfAClashThatIsNoName(t *testing.T) {
	_, err := network.Ensure(context.Background(), &networks{m: &memory{clash: true}}, network.Spec{Name: "a"})
	assert.True(t, errdefs.IsAlreadyExists(err), "%v", err)
}

func TestEnsureOfAForeignNetwork(t *testing.T) {
	m := &memory{info: &network.Info{Ref: resource.Ref{Name: "a"}}}
	_, err := network.Ensure(context.Background(), &networks{m: m}, network.Spec{Name: "a"})
	assert.True(t, errdefs.IsFailedPrecondition(err), "%v", err)
}
