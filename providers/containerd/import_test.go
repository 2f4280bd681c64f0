package containerd

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	testimage "github.com/univirt/univirt/providers/providertest/image"
	"github.com/univirt/univirt/resource"
)

// archived writes an image in a format, under a name.
func archived(t testing.TB, format compute.ImageFormat, name string, image testimage.Artifact) []byte {
	t.Helper()
	var b bytes.Buffer
	if format == compute.DockerArchive {
		require.NoError(t, testimage.WriteDocker(&b, name, image))
	} else {
		require.NoError(t, testimage.WriteOCI(&b, name, image))
	}
	return b.Bytes()
}

// from is a source that hides that it is in memory.
func from(data []byte, format compute.ImageFormat) compute.ImageSource {
	return compute.ImageSource{Reader: onlyReader{bytes.NewReader(data)}, Format: format, Size: int64(len(data))}
}

func TestImport(t *testing.T) {
	p := open(t, Options{})
	ctx := context.Background()
	for _, format := range []compute.ImageFormat{compute.OCIArchive, compute.DockerArchive} {
		t.Run(string(format), func(t *testing.T) {
			unchanged(t, p)
			image := dataImage(t, 3, 50_000)
			data := archived(t, format, "example.test/app:v1", image)
			got, err := p.Images().Import(ctx, from(data, format), compute.ImportOptions{})
			require.NoError(t, err)
			require.Len(t, got, 1)
			assert.Equal(t, "example.test/app:v1", got[0].Ref.Name)
			assert.Equal(t, runtime.GOARCH, got[0].Platform.Architecture)
			assert.True(t, isUnpacked(t, p, "example.test/app:v1"))
			if format == compute.OCIArchive {
				assert.Equal(t, idOf(t, image), got[0].Ref.ID)
			}
			again, err := p.Images().Import(ctx, from(data, format), compute.ImportOptions{})
			require.NoError(t, err)
			assert.Equal(t, got, again)
			for _, thing := range stock(t, p) {
				assert.NotRegexp(t, "^(ingest|lease|snapshot Active)", thing)
			}
			require.NoError(t, p.Images().Delete(ctx, "example.test/app:v1", compute.DeleteImageOptions{}))
		})
	}
}

func TestImportUnderAName(t *testing.T) {
	p := open(t, Options{})
	ctx := context.Background()
	data := archived(t, compute.OCIArchive, "example.test/app:v1", dataImage(t, 1, 10))
	got, err := p.Images().Import(ctx, from(data, compute.OCIArchive), compute.ImportOptions{Name: "mine"})
	require.NoError(t, err)
	assert.Equal(t, []string{"docker.io/library/mine:latest"}, got[0].Names)
	_, err = p.Images().Get(ctx, "example.test/app:v1")
	assert.ErrorIs(t, err, errdefs.ErrNotFound)
}

func TestImportArguments(t *testing.T) {
	p := open(t, Options{})
	unchanged(t, p)
	oci := archived(t, compute.OCIArchive, "example.test/app:v1", dataImage(t, 1, 10))
	mips := archived(t, compute.OCIArchive, "example.test/app:v1", platformImage(t, v1.Platform{OS: "linux", Architecture: "mips64le"}))
	for name, c := range map[string]struct {
		source compute.ImageSource
		opts   compute.ImportOptions
		kind   error
		field  string
	}{
		"no format":        {source: compute.ImageSource{Reader: bytes.NewReader(oci)}, kind: errdefs.ErrInvalidArgument, field: "format"},
		"unknown format":   {source: from(oci, "zip"), kind: errdefs.ErrInvalidArgument, field: "format"},
		"disk image":       {source: from(oci, compute.QCOW2), kind: errors.ErrUnsupported, field: "format"},
		"raw disk":         {source: from(oci, compute.RawDisk), kind: errors.ErrUnsupported, field: "format"},
		"no reader":        {source: compute.ImageSource{Format: compute.OCIArchive}, kind: errdefs.ErrInvalidArgument, field: "reader"},
		"wrong format":     {source: from(oci, compute.DockerArchive), kind: errdefs.ErrInvalidArgument, field: "source"},
		"malformed name":   {source: from(oci, compute.OCIArchive), opts: compute.ImportOptions{Name: "A B"}, kind: errdefs.ErrInvalidArgument, field: "name"},
		"name with digest": {source: from(oci, compute.OCIArchive), opts: compute.ImportOptions{Name: "a@sha256:" + strings.Repeat("0", 64)}, kind: errdefs.ErrInvalidArgument, field: "name"},
		"platform":         {source: from(oci, compute.OCIArchive), opts: compute.ImportOptions{Platform: compute.Platform{OS: "plan9"}}, kind: errdefs.ErrInvalidArgument, field: "platform.os"},
		"another platform": {source: from(mips, compute.OCIArchive), kind: errdefs.ErrFailedPrecondition},
		"half":             {source: from(oci[:len(oci)/2], compute.OCIArchive), kind: errdefs.ErrDataLoss},
		"refused":          {source: from(oci, compute.OCIArchive), opts: compute.ImportOptions{Verify: func(context.Context, string, string) error { return errors.New("no") }}, kind: errdefs.ErrPermissionDenied},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := p.Images().Import(context.Background(), c.source, c.opts)
			var e *resource.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, "import", e.Op)
			assert.Equal(t, c.kind, e.Kind, err)
			assert.Equal(t, c.field, e.Field, err)
		})
	}
}

// TestImportOfDeceivingNames: a digest in a name is a promise.
func TestImportOfDeceivingNames(t *testing.T) {
	p := open(t, Options{})
	unchanged(t, p)
	name := "example.test/app@sha256:" + strings.Repeat("0", 64)
	data := archived(t, compute.OCIArchive, name, dataImage(t, 1, 10))
	_, err := p.Images().Import(context.Background(), from(data, compute.OCIArchive), compute.ImportOptions{})
	assert.ErrorIs(t, err, errdefs.ErrInvalidArgument)
}

func TestImportOfSeveralImages(t *testing.T) {
	p := open(t, Options{})
	ctx := context.Background()
	for n, image := range []v1.Image{dataImage(t, 1, 10), dataImage(t, 2, 10)} {
		data := archived(t, compute.OCIArchive, "example.test/app:v"+string(rune('1'+n)), image)
		_, err := p.Images().Import(ctx, from(data, compute.OCIArchive), compute.ImportOptions{})
		require.NoError(t, err)
	}
	for _, format := range []compute.ImageFormat{compute.OCIArchive, compute.DockerArchive} {
		t.Run(string(format), func(t *testing.T) {
			var b bytes.Buffer
			require.NoError(t, p.Images().Export(ctx, &b, []string{"example.test/app:v1", "example.test/app:v2"}, compute.ExportOptions{Format: format}))
			q := open(t, Options{})
			before := stock(t, q)
			_, err := q.Images().Import(ctx, from(b.Bytes(), format), compute.ImportOptions{Name: "one"})
			assert.ErrorIs(t, err, errdefs.ErrInvalidArgument)
			assert.Equal(t, before, stock(t, q))
			got, err := q.Images().Import(ctx, from(b.Bytes(), format), compute.ImportOptions{})
			require.NoError(t, err)
			var names []string
			for _, image := range got {
				names = append(names, image.Ref.Name)
			}
			assert.ElementsMatch(t, []string{"example.test/app:v1", "example.test/app:v2"}, names)
		})
	}
	t.Run("one of them unfit", func(t *testing.T) {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		require.NoError(t, w.Close())
		q := open(t, Options{})
		unchanged(t, q)
		_, err := q.Images().Import(ctx, from(b.Bytes(), compute.OCIArchive), compute.ImportOptions{})
		assert.ErrorIs(t, err, errdefs.ErrInvalidArgument)
	})
}

func TestImportOfAnIndex(t *testing.T) {
	p := open(t, Options{})
	ctx := context.Background()
	index, err := testimage.Index(
		platformImage(t, v1.Platform{OS: "linux", Architecture: "mips64le"}),
		platformImage(t, v1.Platform{OS: "linux", Architecture: runtime.GOARCH}))
	require.NoError(t, err)
	data := archived(t, compute.OCIArchive, "example.test/many:v1", index)
	got, err := p.Images().Import(ctx, from(data, compute.OCIArchive), compute.ImportOptions{})
	require.NoError(t, err)
	assert.Equal(t, runtime.GOARCH, got[0].Platform.Architecture)
	assert.Equal(t, idOf(t, index), got[0].Ref.ID)

	// The other platform was not asked for, and is not kept.
	var b bytes.Buffer
	err = p.Images().Export(ctx, &b, []string{"example.test/many:v1"}, compute.ExportOptions{Platform: compute.Platform{Architecture: "mips64le"}})
	assert.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
	assert.Zero(t, b.Len())
	require.NoError(t, p.Images().Export(ctx, &b, []string{"example.test/many:v1"}, compute.ExportOptions{}))
	q := open(t, Options{})
	again, err := q.Images().Import(ctx, from(b.Bytes(), compute.OCIArchive), compute.ImportOptions{})
	require.NoError(t, err)
	assert.Equal(t, got[0].Ref.ID, again[0].Ref.ID)
	_, err = q.Images().Import(ctx, from(b.Bytes(), compute.OCIArchive), compute.ImportOptions{Platform: compute.Platform{Architecture: "mips64le"}})
	assert.ErrorIs(t, err, errdefs.ErrDataLoss)

	other, err := p.Images().Import(ctx, from(data, compute.OCIArchive), compute.ImportOptions{Platform: compute.Platform{Architecture: "mips64le"}})
	require.NoError(t, err)
	assert.Equal(t, "mips64le", other[0].Platform.Architecture)
	b.Reset()
	require.NoError(t, p.Images().Export(ctx, &b, []string{"example.test/many:v1"}, compute.ExportOptions{}))
	_, err = open(t, Options{}).Images().Import(ctx, from(b.Bytes(), compute.OCIArchive), compute.ImportOptions{Platform: compute.Platform{Architecture: "mips64le"}})
	require.NoError(t, err)
}

// blocking is a reader or writer whose calls do not return.
type blocking struct{ release chan struct{} }

func (b blocking) Read([]byte) (int, error)    { <-b.release; return 0, io.EOF }
func (b blocking) Write(p []byte) (int, error) { <-b.release; return len(p), nil }

func TestImportEndsWithItsContext(t *testing.T) {
	p := open(t, Options{})
	unchanged(t, p)
	data := archived(t, compute.OCIArchive, "example.test/app:v1", dataImage(t, 2, 100_000))
	b := blocking{make(chan struct{})}
	defer close(b.release)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_, err := p.Images().Import(ctx, compute.ImageSource{
		Reader: io.MultiReader(bytes.NewReader(data[:len(data)/2]), b), Format: compute.OCIArchive,
	}, compute.ImportOptions{})
	assert.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestImportReaderFails(t *testing.T) {
	p := open(t, Options{})
	unchanged(t, p)
	data := archived(t, compute.OCIArchive, "example.test/app:v1", dataImage(t, 2, 100_000))
	cause := errors.New("the tape is torn")
	r, w := io.Pipe()
	go func() {
		_, _ = w.Write(data[:len(data)/2])
		w.CloseWithError(cause)
	}()
	_, err := p.Images().Import(context.Background(), compute.ImageSource{Reader: r, Format: compute.OCIArchive}, compute.ImportOptions{})
	assert.ErrorIs(t, err, cause)
}

func TestImportTrailer(t *testing.T) {
	p := open(t, Options{})
	data := archived(t, compute.OCIArchive, "example.test/app:v1", dataImage(t, 1, 10))
	_, err := p.Images().Import(context.Background(), from(append(bytes.Clone(data), make([]byte, 10<<10)...), compute.OCIArchive), compute.ImportOptions{})
	assert.NoError(t, err)
	_, err = p.Images().Import(context.Background(), from(append(bytes.Clone(data), make([]byte, maxTrailer+1)...), compute.OCIArchive), compute.ImportOptions{})
	assert.ErrorIs(t, err, errdefs.ErrInvalidArgument)
}

func FuzzParseLayoutIndex(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:` + strings.Repeat("0", 64) + `","size":3,"annotations":{"io.containerd.image.name":"a/b:c"}}]}`))
	f.Add([]byte(`{"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"../x","size":-1}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := parseLayoutIndex(data)
		if err != nil {
			assert.NotNil(t, resource.KindOf(err))
		}
		for _, l := range all {
			assert.NoError(t, l.target.Digest.Validate())
			if !l.unnamed {
				_, err := compute.ParseImageReference(l.name)
				assert.NoError(t, err)
			}
		}
	})
}

func FuzzParseDockerList(f *testing.F) {
	f.Add([]byte(`[{"Config":"c.json","RepoTags":["a:b"],"Layers":["l.tar"]}]`))
	f.Add([]byte(`[null]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := parseDockerList(data); err != nil {
			assert.ErrorIs(t, err, errdefs.ErrInvalidArgument)
		}
	})
}

func FuzzArchive(f *testing.F) {
	f.Add(archived(f, compute.OCIArchive, "example.test/a:v1", dataImage(f, 0, 0)))
	f.Add(make([]byte, 1024))
	f.Fuzz(func(t *testing.T, data []byte) {
		a := newArchive(nil, bytes.NewReader(data))
		err := a.each(func(name string, header *tar.Header) error {
			assert.False(t, strings.HasPrefix(name, "/") || strings.HasPrefix(name, "../"), name)
			_, err := a.text(header)
			return err
		})
		if err != nil {
			assert.NotNil(t, resource.KindOf(err), "%v", err)
		}
	})
}
