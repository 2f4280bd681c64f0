package storage_test

import (
	"context"
	"strconv"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// memory is one volume at most, in memory.
type memory struct {
	storage.Volumes
	info     *storage.Info
	revision int
	updates  int
	resizes  int
	// interfere is called before each update, as another process would act.
	interfere func()
}

type handle struct {
	storage.Volume
	m *memory
}

var _ storage.Resizer = (*handle)(nil)

func (m *memory) Create(_ context.Context, spec storage.Spec) (storage.Volume, error) {
	if m.info != nil {
		return nil, resource.Fail("create", resource.Ref{Name: spec.Name}, errdefs.ErrAlreadyExists)
	}
	stored := spec.Clone()
	m.info = &storage.Info{Ref: resource.Ref{Name: spec.Name}, Managed: true, Spec: &stored, Labels: stored.Labels, Annotations: stored.Annotations}
	return &handle{m: m}, nil
}

func (m *memory) Get(context.Context, string) (storage.Volume, error) { return &handle{m: m}, nil }

func (h *handle) ID() string { return someID }

func (h *handle) Info(context.Context) (storage.Info, error) {
	info := *h.m.info
	info.Revision = strconv.Itoa(h.m.revision)
	return info, nil
}

func (h *handle) Update(_ context.Context, change storage.Change) error {
	if h.m.interfere != nil {
		h.m.interfere()
	}
	if change.IfRevision != strconv.Itoa(h.m.revision) {
		return resource.Fail("update", h.m.info.Ref, errdefs.ErrAborted)
	}
	h.m.updates++
	h.m.revision++
	spec := h.m.info.Spec.Clone()
	spec.Labels = change.Labels.Apply(spec.Labels)
	spec.Annotations = resource.Annotations(change.Annotations.Apply(resource.Labels(spec.Annotations)))
	h.m.info = &storage.Info{Ref: h.m.info.Ref, Managed: true, Spec: &spec, Labels: spec.Labels, Annotations: spec.Annotations}
	return nil
}

func (h *handle) Resize(_ context.Context, size int64, _ storage.ResizeOptions) error {
	h.m.resizes++
	h.m.info.Spec.Size = size
	return nil
}

func TestEnsure(t *testing.T) {
	ctx := context.Background()
	m := &memory{}
	spec := full()
	for range 3 {
		v, err := storage.Ensure(ctx, m, spec)
		require.NoError(t, err)
		require.NotNil(t, v)
	}
	assert.Zero(t, m.updates+m.resizes, "what is as wanted is left alone")

	spec.Labels["tier"] = "cache"
	spec.Annotations["more"] = "text"
	spec.Size *= 2
	_, err := storage.Ensure(ctx, m, spec)
	require.NoError(t, err)
	assert.Equal(t, 1, m.updates)
	assert.Equal(t, 1, m.resizes)
	assert.Equal(t, spec, *m.info.Spec)

	_, err = storage.Ensure(ctx, m, storage.Spec{Name: spec.Name})
	require.NoError(t, err, "what is zero is left as it is")
	assert.Equal(t, spec, *m.info.Spec)

	for field, change := range map[string]func(*storage.Spec){
		"size": func(s *storage.Spec) { s.Size-- },
		"pool": func(s *storage.Spec) { s.Pool = "slow" },
		"mode": func(s *storage.Spec) { s.Mode = storage.Filesystem },
	} {
		other := spec.Clone()
		change(&other)
		v, err := storage.Ensure(ctx, m, other)
		assert.Nil(t, v)
		assert.True(t, errdefs.IsFailedPrecondition(err))
		var e *resource.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, field, e.Field)
	}
}

func TestEnsureComparesAgainAfterAConflict(t *testing.T) {
	ctx := context.Background()
	m := &memory{}
	_, err := storage.Ensure(ctx, m, storage.Spec{Name: "a"})
	require.NoError(t, err)
	left := 3
	m.interfere = func() {
		if left > 0 {
			left--
			m.revision++
		}
	}
	_, err = storage.Ensure(ctx, m, storage.Spec{Name: "a", Labels: resource.Labels{"a": "1"}})
	require.NoError(t, err)
	m.interfere = func() { m.revision++ }
	_, err = storage.Ensure(ctx, m, storage.Spec{Name: "a", Labels: resource.Labels{"a": "2"}})
	assert.True(t, errdefs.IsAborted(err), "not for ever: %v", err)
}

func TestEnsureOfAForeignVolume(t *testing.T) {
	m := &memory{info: &storage.Info{Ref: resource.Ref{Name: "a"}}}
	_, err := storage.Ensure(context.Background(), m, storage.Spec{Name: "a"})
	assert.True(t, errdefs.IsFailedPrecondition(err), "%v", err)
}
