package containerd

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	testregistry "github.com/univirt/univirt/providers/providertest/registry"
	"github.com/univirt/univirt/resource"
)

func TestGetByAnyFormOfTheName(t *testing.T) {
	p := open(t, Options{})
	ctx := context.Background()
	want := imported(t, p, "docker.io/library/app:latest")
	for _, name := range []string{
		"app", "app:latest", "library/app", "docker.io/app", "docker.io/library/app:latest",
		want.Ref.ID, "app@" + want.Ref.ID, "library/app@" + want.Ref.ID,
	} {
		got, err := p.Images().Get(ctx, name)
		require.NoError(t, err, name)
		assert.Equal(t, want, got)
	}
	for name, kind := range map[string]error{
		"app:v2":                                errdefs.ErrNotFound,
		"other":                                 errdefs.ErrNotFound,
		"other@" + want.Ref.ID:                  errdefs.ErrNotFound,
		"sha256:" + strings.Repeat("0", 64):     errdefs.ErrNotFound,
		"app@sha256:" + strings.Repeat("0", 64): errdefs.ErrNotFound,
		"":                                      errdefs.ErrInvalidArgument,
		"UPPER":                                 errdefs.ErrInvalidArgument,
		"../../etc/passwd":                      errdefs.ErrInvalidArgument,
		"a\nb":                                  errdefs.ErrInvalidArgument,
		strings.Repeat("a", 2000):               errdefs.ErrInvalidArgument,
	} {
		_, err := p.Images().Get(ctx, name)
		var e *resource.Error
		require.ErrorAs(t, err, &e, name)
		assert.Equal(t, kind, e.Kind, name)
		assert.Equal(t, "get", e.Op)
	}
}

func TestListOfImages(t *testing.T) {
	p := open(t, Options{})
	ctx := context.Background()
	list := func(f compute.ImageFilter) []string {
		all, err := resource.Collect(p.Images().List(ctx, f))
		require.NoError(t, err)
		var names []string
		for _, image := range all {
			got, err := p.Images().Get(ctx, image.Ref.ID)
			require.NoError(t, err)
			assert.Equal(t, got, image)
			names = append(names, strings.Join(image.Names, " "))
		}
		return names
	}
	assert.Empty(t, list(compute.ImageFilter{}))
	a := imported(t, p, "example.test/a:v1", "example.test/a:v2")
	b := imported(t, p, "docker.io/library/b:latest")
	const names = "example.test/a:v1 example.test/a:v2"
	assert.ElementsMatch(t, []string{names, "docker.io/library/b:latest"}, list(compute.ImageFilter{}))
	assert.Equal(t, []string{names}, list(compute.ImageFilter{Names: []string{"example.test/a:v2"}}))
	assert.Equal(t, []string{"docker.io/library/b:latest"}, list(compute.ImageFilter{Names: []string{"b"}}))
	assert.Equal(t, []string{names}, list(compute.ImageFilter{IDs: []string{a.Ref.ID}}))
	assert.Empty(t, list(compute.ImageFilter{IDs: []string{a.Ref.ID}, Names: []string{"b"}}))
	assert.ElementsMatch(t, []string{names, "docker.io/library/b:latest"}, list(compute.ImageFilter{IDs: []string{a.Ref.ID, b.Ref.ID}}))
	assert.Empty(t, list(compute.ImageFilter{IDs: []string{"no digest\" or \"1"}}))
	for range p.Images().List(ctx, compute.ImageFilter{}) {
		break
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err := resource.Collect(p.Images().List(cancelled, compute.ImageFilter{}))
	assert.ErrorIs(t, err, context.Canceled)
}

// TestListShowsDamagedImages: they must be seen to be deleted.
func TestListShowsDamagedImages(t *testing.T) {
	p := open(t, Options{})
	ctx := context.Background()
	image := dataImage(t, 1, 100)
	_, err := p.Images().Import(ctx, from(archived(t, compute.OCIArchive, "example.test/app:v1", image), compute.OCIArchive), compute.ImportOptions{})
	require.NoError(t, err)
	sound := imported(t, p, "example.test/sound:v1")
	config, err := image.ConfigName()
	require.NoError(t, err)
	removeContent(t, p, config.String())
	p.images.cache = contentCache{}

	all, err := resource.Collect(p.Images().List(ctx, compute.ImageFilter{}))
	require.NoError(t, err)
	require.Len(t, all, 2)
	for _, got := range all {
		if got.Ref.ID == sound.Ref.ID {
			assert.Equal(t, sound, got)
			continue
		}
		assert.Equal(t, []string{"example.test/app:v1"}, got.Names)
		assert.Zero(t, got.Platform)
	}
	_, err = p.Images().Get(ctx, "example.test/app:v1")
	assert.ErrorIs(t, err, errdefs.ErrDataLoss)
	require.NoError(t, p.Images().Delete(ctx, "example.test/app:v1", compute.DeleteImageOptions{}))
}

func TestDeleteOfImages(t *testing.T) {
	p := open(t, Options{})
	ctx := context.Background()
	empty := stock(t, p)
	image := imported(t, p, "example.test/a:v1", "example.test/a:v2", "example.test/a:v3")

	require.NoError(t, p.Images().Delete(ctx, "example.test/a:v1", compute.DeleteImageOptions{}))
	got, err := p.Images().Get(ctx, image.Ref.ID)
	require.NoError(t, err)
	assert.Equal(t, []string{"example.test/a:v2", "example.test/a:v3"}, got.Names)
	assert.ErrorIs(t, p.Images().Delete(ctx, "example.test/a:v1", compute.DeleteImageOptions{}), errdefs.ErrNotFound)

	require.NoError(t, p.Images().Delete(ctx, image.Ref.ID, compute.DeleteImageOptions{}))
	assert.Equal(t, empty, stock(t, p))
	assert.ErrorIs(t, p.Images().Delete(ctx, image.Ref.ID, compute.DeleteImageOptions{}), errdefs.ErrNotFound)
	err = p.Images().Delete(ctx, "A B", compute.DeleteImageOptions{})
	assert.ErrorIs(t, err, errdefs.ErrInvalidArgument)

	imported(t, p, "example.test/last:v1")
	require.NoError(t, p.Images().Delete(ctx, "example.test/last:v1", compute.DeleteImageOptions{}))
	assert.Equal(t, empty, stock(t, p))
}

func TestDeleteOfImagesInUse(t *testing.T) {
	p := open(t, Options{})
	image := imported(t, p, "example.test/a:v1", "example.test/a:v2")
	ctx, done, err := p.begin(context.Background())
	require.NoError(t, err)
	defer done()
	id := resource.NewID()
	defer func() { assert.NoError(t, p.client.ContainerService().Delete(ctx, id)) }()
	_, err = p.client.ContainerService().Create(ctx, containers.Container{
		ID: id, Image: "example.test/a:v1",
		Labels:  map[string]string{labelImage: image.Ref.ID, labelName: "web"},
		Runtime: containers.RuntimeInfo{Name: "io.containerd.runc.v2"},
		Spec:    noSpec{},
	})
	require.NoError(t, err)
	for _, force := range []bool{false, true} {
		err = p.Images().Delete(ctx, image.Ref.ID, compute.DeleteImageOptions{Force: force})
		assert.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
		assert.ErrorContains(t, err, `"web"`)
	}
	// A name more is no loss.
	require.NoError(t, p.Images().Delete(ctx, "example.test/a:v1", compute.DeleteImageOptions{}))
	assert.ErrorIs(t, p.Images().Delete(ctx, "example.test/a:v2", compute.DeleteImageOptions{}), errdefs.ErrFailedPrecondition)
}

// noSpec stands for a container's specification.
type noSpec struct{}

func (noSpec) GetTypeUrl() string { return "example.test/none" }
func (noSpec) GetValue() []byte   { return []byte("{}") }

func TestResolve(t *testing.T) {
	p := open(t, Options{})
	r := testregistry.Test(t)
	ref := push(t, r, "app:v1", dataImage(t, 2, 100))
	ctx, done, err := p.begin(context.Background())
	require.NoError(t, err)
	defer done()
	resolve := func(image string, policy compute.PullPolicy) (resolvedImage, error) {
		return p.images.resolve(ctx, image, policy)
	}
	isFault := func(err error, kind error) {
		t.Helper()
		var e *resource.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, kind, e.Kind, err)
		assert.Equal(t, "image", e.Field, err)
	}

	_, err = resolve(ref, compute.PullNever)
	isFault(err, errdefs.ErrNotFound)
	_, err = resolve(r.Ref("none"), compute.PullIfMissing)
	isFault(err, errdefs.ErrNotFound)
	_, err = resolve("A B", compute.PullIfMissing)
	isFault(err, errdefs.ErrInvalidArgument)
	_, err = resolve("sha256:"+strings.Repeat("0", 64), compute.PullAlways)
	isFault(err, errdefs.ErrNotFound)

	first, err := resolve(ref, compute.PullIfMissing)
	require.NoError(t, err)
	r.Forget()
	for _, image := range []string{ref, first.ID, r.Ref("app@" + first.ID)} {
		for _, policy := range []compute.PullPolicy{"", compute.PullIfMissing, compute.PullNever} {
			again, err := resolve(image, policy)
			require.NoError(t, err)
			again.record.CreatedAt, again.record.UpdatedAt = first.record.CreatedAt, first.record.UpdatedAt
			assert.Equal(t, first, again)
		}
	}
	assert.Zero(t, r.Count())
	assert.Equal(t, []string{"/none"}, first.Config.Cmd)

	second := dataImage(t, 1, 50)
	push(t, r, "app:v1", second)
	moved, err := resolve(ref, compute.PullAlways)
	require.NoError(t, err)
	assert.Equal(t, idOf(t, second), moved.ID)

	require.NoError(t, r.Down())
	_, err = resolve(ref, compute.PullIfMissing)
	require.NoError(t, err)
	_, err = resolve(ref, compute.PullAlways)
	isFault(err, errdefs.ErrUnavailable)
}

func TestUnpack(t *testing.T) {
	p := open(t, Options{})
	ctx, done, err := p.begin(context.Background())
	require.NoError(t, err)
	defer done()
	image := dataImage(t, 3, 1000)
	_, err = p.Images().Import(ctx, from(archived(t, compute.OCIArchive, "example.test/a:v1", image), compute.OCIArchive), compute.ImportOptions{})
	require.NoError(t, err)
	resolved, err := p.images.resolve(ctx, "example.test/a:v1", compute.PullNever)
	require.NoError(t, err)
	snapshots := p.client.SnapshotService(p.snapshotter)
	require.NoError(t, snapshots.Remove(ctx, resolved.ChainID))
	require.False(t, isUnpacked(t, p, "example.test/a:v1"))
	require.NoError(t, p.images.unpack(ctx, resolved))
	require.True(t, isUnpacked(t, p, "example.test/a:v1"))
	require.NoError(t, p.images.unpack(ctx, resolved))

	t.Run("layers are gone", func(t *testing.T) {
		require.NoError(t, snapshots.Remove(ctx, resolved.ChainID))
		manifest, err := image.Manifest()
		require.NoError(t, err)
		removeContent(t, p, manifest.Layers[2].Digest.String())
		err = p.images.unpack(ctx, resolved)
		assert.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
	})
}

// TestNamesAreGivenAllOrNone: the second name cannot be given.
func TestNamesAreGivenAllOrNone(t *testing.T) {
	p := open(t, Options{})
	a, b := imported(t, p, "example.test/a:v1"), imported(t, p, "example.test/b:v1")
	ctx, done, err := p.begin(context.Background())
	require.NoError(t, err)
	defer done()
	before := stock(t, p)
	record := func(name string) images.Image {
		r, err := p.client.ImageService().Get(ctx, name)
		require.NoError(t, err)
		return r
	}
	err = p.images.name(ctx, []named{
		{"example.test/new:v1", record("example.test/a:v1").Target},
		{"example.test/b:v1", record("example.test/a:v1").Target},
		{"", record("example.test/a:v1").Target},
	})
	assert.Error(t, err)
	assert.Equal(t, before, stock(t, p))
	assert.NotEqual(t, a.Ref.ID, b.Ref.ID)
}

func TestImagesAfterClose(t *testing.T) {
	p := open(t, Options{})
	imported(t, p, "example.test/a:v1")
	require.NoError(t, p.Close())
	ctx := context.Background()
	_, err := p.Images().Get(ctx, "example.test/a:v1")
	assert.ErrorIs(t, err, resource.ErrClosed)
	_, listErr := resource.Collect(p.Images().List(ctx, compute.ImageFilter{}))
	assert.ErrorIs(t, listErr, resource.ErrClosed)
	_, err = p.Images().Import(ctx, compute.ImageSource{}, compute.ImportOptions{})
	assert.ErrorIs(t, err, resource.ErrClosed)
	assert.ErrorIs(t, p.Images().Export(ctx, nil, nil, compute.ExportOptions{}), resource.ErrClosed)
	err = p.Images().Delete(ctx, "A B", compute.DeleteImageOptions{})
	assert.ErrorIs(t, err, resource.ErrClosed)
	assert.False(t, errors.Is(err, errdefs.ErrInvalidArgument))
}
