package containerd

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// imported brings an image of its own into a provider.
func imported(t testing.TB, p *Provider, names ...string) compute.Image {
	t.Helper()
	image := dataImage(t, 2, 20_000)
	var last compute.Image
	for _, name := range names {
		got, err := p.Images().Import(context.Background(), from(archived(t, compute.OCIArchive, name, image), compute.OCIArchive), compute.ImportOptions{})
		require.NoError(t, err)
		last = got[0]
	}
	return last
}

func files(t testing.TB, archive []byte) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := r.Next()
		if err == io.EOF {
			return out
		}
		require.NoError(t, err)
		out[header.Name], err = io.ReadAll(r)
		require.NoError(t, err)
	}
}

func TestExport(t *testing.T) {
	p := open(t, Options{})
	ctx := context.Background()
	image := imported(t, p, "example.test/app:v1", "example.test/app:v2")
	unchanged(t, p)

	t.Run("OCI", func(t *testing.T) {
		var b bytes.Buffer
		require.NoError(t, p.Images().Export(ctx, &b, []string{"example.test/app:v1"}, compute.ExportOptions{}))
		got := files(t, b.Bytes())
		assert.Contains(t, got, "oci-layout")
		assert.NotContains(t, got, "manifest.json")
		assert.Contains(t, string(got["index.json"]), "example.test/app:v1")
		assert.NotContains(t, string(got["index.json"]), "example.test/app:v2")
	})
	t.Run("by ID", func(t *testing.T) {
		var b bytes.Buffer
		require.NoError(t, p.Images().Export(ctx, &b, []string{image.Ref.ID}, compute.ExportOptions{}))
		got := files(t, b.Bytes())
		assert.Contains(t, string(got["index.json"]), "example.test/app:v1")
		assert.Contains(t, string(got["index.json"]), "example.test/app:v2")
	})
	t.Run("Docker", func(t *testing.T) {
		var b bytes.Buffer
		require.NoError(t, p.Images().Export(ctx, &b, []string{"example.test/app:v1"}, compute.ExportOptions{Format: compute.DockerArchive}))
		var list []dockerEntry
		require.NoError(t, json.Unmarshal(files(t, b.Bytes())["manifest.json"], &list))
		require.Len(t, list, 1)
		assert.Equal(t, []string{"example.test/app:v1"}, list[0].RepoTags)
		// Another implementation reads it.
		tag, err := name.NewTag("example.test/app:v1")
		require.NoError(t, err)
		read, err := tarball.Image(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }, &tag)
		require.NoError(t, err)
		layers, err := read.Layers()
		require.NoError(t, err)
		assert.Len(t, layers, 2)
	})
}

func TestExportArguments(t *testing.T) {
	p := open(t, Options{})
	imported(t, p, "example.test/app:v1")
	for name, c := range map[string]struct {
		names []string
		opts  compute.ExportOptions
		kind  error
		field string
	}{
		"nothing":          {kind: errdefs.ErrInvalidArgument, field: "names"},
		"malformed name":   {names: []string{"A B"}, kind: errdefs.ErrInvalidArgument, field: "names[0]"},
		"unknown name":     {names: []string{"example.test/app:v1", "none"}, kind: errdefs.ErrNotFound, field: "names[1]"},
		"disk":             {names: []string{"example.test/app:v1"}, opts: compute.ExportOptions{Format: compute.QCOW2}, kind: errors.ErrUnsupported, field: "format"},
		"unknown format":   {names: []string{"example.test/app:v1"}, opts: compute.ExportOptions{Format: "zip"}, kind: errdefs.ErrInvalidArgument, field: "format"},
		"another platform": {names: []string{"example.test/app:v1"}, opts: compute.ExportOptions{Platform: compute.Platform{Architecture: "mips64le"}}, kind: errdefs.ErrFailedPrecondition, field: "names[0]"},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			err := p.Images().Export(context.Background(), &b, c.names, c.opts)
			var e *resource.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, "export", e.Op)
			assert.Equal(t, c.kind, e.Kind, err)
			assert.Equal(t, c.field, e.Field, err)
			assert.Zero(t, b.Len())
		})
	}
}

func TestExportOfWhatIsIncomplete(t *testing.T) {
	p := open(t, Options{})
	image := dataImage(t, 2, 1000)
	_, err := p.Images().Import(context.Background(), from(archived(t, compute.OCIArchive, "example.test/app:v1", image), compute.OCIArchive), compute.ImportOptions{})
	require.NoError(t, err)
	manifest, err := image.Manifest()
	require.NoError(t, err)
	removeContent(t, p, manifest.Layers[1].Digest.String())
	var b bytes.Buffer
	err = p.Images().Export(context.Background(), &b, []string{"example.test/app:v1"}, compute.ExportOptions{})
	assert.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
	assert.Zero(t, b.Len())
}

// full is a writer that fails after so many bytes.
type full struct{ room int }

var errFull = errors.New("the tape is full")

func (f *full) Write(p []byte) (int, error) {
	if len(p) > f.room {
		n := f.room
		f.room = 0
		return n, errFull
	}
	f.room -= len(p)
	return len(p), nil
}

func TestExportWriterFails(t *testing.T) {
	p := open(t, Options{})
	imported(t, p, "example.test/app:v1")
	var b bytes.Buffer
	require.NoError(t, p.Images().Export(context.Background(), &b, []string{"example.test/app:v1"}, compute.ExportOptions{}))
	// The last bytes are the archive's end, which is easily forgotten.
	for _, room := range []int{0, 100, b.Len() / 2, b.Len() - 1} {
		err := p.Images().Export(context.Background(), &full{room}, []string{"example.test/app:v1"}, compute.ExportOptions{})
		assert.ErrorIs(t, err, errFull, "room for %d of %d", room, b.Len())
	}
	assert.NoError(t, p.Images().Export(context.Background(), &full{b.Len()}, []string{"example.test/app:v1"}, compute.ExportOptions{}))
}

func TestExportEndsWithItsContext(t *testing.T) {
	p := open(t, Options{})
	imported(t, p, "example.test/app:v1")
	b := blocking{make(chan struct{})}
	defer close(b.release)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	err := p.Images().Export(ctx, b, []string{"example.test/app:v1"}, compute.ExportOptions{})
	assert.ErrorIs(t, err, context.DeadlineExceeded)
}
