package storage_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// plain is a volume that can do nothing beyond the base.
type plain struct{ storage.Volume }

func (plain) ID() string { return someID }

// able is a volume that can do everything.
type able struct {
	plain
	size int64
}

var (
	_ storage.Resizer     = (*able)(nil)
	_ storage.Snapshotter = (*able)(nil)
	_ storage.Transferer  = (*able)(nil)
)

func (a *able) Resize(_ context.Context, size int64, _ storage.ResizeOptions) error {
	a.size = size
	return nil
}

func (a *able) CreateSnapshot(_ context.Context, spec storage.SnapshotSpec) (storage.SnapshotInfo, error) {
	return storage.SnapshotInfo{Ref: resource.Ref{Name: spec.Name}}, nil
}
func (a *able) Snapshots(context.Context) iter.Seq2[storage.SnapshotInfo, error] {
	return func(func(storage.SnapshotInfo, error) bool) {}
}
func (a *able) RevertSnapshot(context.Context, string) error { return nil }
func (a *able) DeleteSnapshot(context.Context, string) error { return nil }

func (a *able) Export(_ context.Context, w io.Writer, _ storage.TransferOptions) error {
	_, err := io.WriteString(w, "content")
	return err
}

func (a *able) Import(_ context.Context, r io.Reader, _ storage.TransferOptions) error {
	n, err := io.Copy(io.Discard, r)
	a.size = n
	return err
}

// wrapped is a volume behind another.
type wrapped struct{ storage.Volume }

func (w wrapped) Unwrap() storage.Volume { return w.Volume }

type pools struct{ storage.Volumes }

var _ storage.PoolLister = pools{}

func (pools) Pools(context.Context) iter.Seq2[storage.Pool, error] {
	return func(yield func(storage.Pool, error) bool) { yield(storage.Pool{Name: "default"}, nil) }
}

type wrappedVolumes struct{ storage.Volumes }

func (w wrappedVolumes) Unwrap() storage.Volumes { return w.Volumes }

func TestHelpersFindExtensionsThroughWrappers(t *testing.T) {
	ctx := context.Background()
	a := &able{}
	for _, v := range []storage.Volume{a, wrapped{a}, wrapped{wrapped{wrapped{a}}}} {
		require.NoError(t, storage.Resize(ctx, v, 7, storage.ResizeOptions{}))
		assert.Equal(t, int64(7), a.size)
		snapshotter, err := storage.Snapshots(v)
		require.NoError(t, err)
		assert.Same(t, a, snapshotter)
		var out bytes.Buffer
		require.NoError(t, storage.Export(ctx, v, &out, storage.TransferOptions{Format: storage.Raw}))
		require.NoError(t, storage.Import(ctx, v, &out, storage.TransferOptions{Format: storage.Raw}))
		assert.Equal(t, int64(len("content")), a.size)
	}
	for _, volumes := range []storage.Volumes{pools{}, wrappedVolumes{wrappedVolumes{pools{}}}} {
		all, err := resource.Collect(storage.Pools(ctx, volumes))
		require.NoError(t, err)
		assert.Equal(t, []storage.Pool{{Name: "default"}}, all)
	}
}

func TestHelpersWithoutExtension(t *testing.T) {
	ctx := context.Background()
	for _, v := range []storage.Volume{plain{}, wrapped{plain{}}, wrapped{wrapped{plain{}}}} {
		_, snapshots := storage.Snapshots(v)
		for message, err := range map[string]error{
			"resize is not supported":    storage.Resize(ctx, v, 7, storage.ResizeOptions{}),
			"snapshot is not supported":  snapshots,
			"transfer is not supported":  storage.Export(ctx, v, io.Discard, storage.TransferOptions{}),
			"transfer is not supported ": storage.Import(ctx, v, new(bytes.Buffer), storage.TransferOptions{}),
		} {
			require.ErrorIs(t, err, errors.ErrUnsupported, message)
			var e *resource.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, resource.Ref{Kind: resource.KindVolume, ID: someID}, e.Ref)
			assert.ErrorContains(t, err, message[:len(message)-1])
		}
	}
	_, err := resource.Collect(storage.Pools(ctx, wrappedVolumes{}))
	assert.ErrorIs(t, err, errors.ErrUnsupported)
}

func TestResizeChecksTheSize(t *testing.T) {
	a := &able{size: 1}
	for _, size := range []int64{0, -1, 1<<60 + 1} {
		err := storage.Resize(context.Background(), a, size, storage.ResizeOptions{Shrink: true})
		assert.True(t, errdefs.IsInvalidArgument(err))
		assert.Equal(t, "size", resource.FaultsOf(err)[0].Field)
	}
	assert.Equal(t, int64(1), a.size)
}

func TestAbsent(t *testing.T) {
	ctx := context.Background()
	volumes := storage.Absent("the backend has none")
	handle := volumes.Handle(someID)
	assert.Equal(t, someID, handle.ID())
	second := func(_ any, err error) error { return err }
	for message, err := range map[string]error{
		`create volume "a"`:              second(volumes.Create(ctx, storage.Spec{Name: "a"})),
		`get volume "a"`:                 second(volumes.Get(ctx, "a")),
		`list volume`:                    second(resource.Collect(volumes.List(ctx, storage.Filter{}))),
		`info volume "` + someID + `"`:   second(handle.Info(ctx)),
		`update volume "` + someID + `"`: handle.Update(ctx, storage.Change{}),
		`delete volume "` + someID + `"`: handle.Delete(ctx, storage.DeleteOptions{}),
	} {
		require.ErrorIs(t, err, errors.ErrUnsupported)
		assert.EqualError(t, err, message+": volumes is not supported: the backend has none")
	}
	_, err := storage.Ensure(ctx, volumes, storage.Spec{Name: "a"})
	assert.ErrorIs(t, err, errors.ErrUnsupported)
}
