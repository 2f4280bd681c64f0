package containerd

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	testimage "github.com/univirt/univirt/providers/providertest/image"
	testregistry "github.com/univirt/univirt/providers/providertest/registry"
	"github.com/univirt/univirt/resource"
)

// refusals are the kinds with which an image may be refused for what it is.
var refusals = []error{errdefs.ErrDataLoss, errdefs.ErrInvalidArgument, errdefs.ErrFailedPrecondition, errdefs.ErrNotFound}

func assertRefused(t *testing.T, err error, must bool) {
	t.Helper()
	if err == nil {
		assert.False(t, must, "was accepted")
		return
	}
	t.Log(err)
	var e *resource.Error
	require.ErrorAs(t, err, &e)
	assert.Contains(t, refusals, e.Kind, "%v", err)
}

func TestHostileImages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cases, err := testimage.Hostile(dir)
	require.NoError(t, err)
	p := open(t, Options{})
	r := testregistry.Test(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	forget := func(t *testing.T, ref string) {
		err := p.Images().Delete(ctx, ref, compute.DeleteImageOptions{})
		assert.True(t, err == nil || errdefs.IsNotFound(err), "%v", err)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			const name = "example.test/hostile:v1"
			t.Run("pull", func(t *testing.T) {
				ref, err := r.Push("hostile:v1", c.Image)
				if err != nil {
					t.Skipf("not offered: the registry does not take it: %v", err)
				}
				unchanged(t, p)
				_, err = p.Images().Pull(ctx, ref, compute.PullOptions{})
				assertRefused(t, err, c.Pull)
				forget(t, ref)
			})
			for format, f := range map[compute.ImageFormat]struct {
				write func(*bytes.Buffer) error
				must  bool
			}{
				compute.OCIArchive:    {func(b *bytes.Buffer) error { return testimage.WriteOCI(b, name, c.Image) }, c.OCI},
				compute.DockerArchive: {func(b *bytes.Buffer) error { return testimage.WriteDocker(b, name, c.Image) }, c.Docker},
			} {
				t.Run(string(format), func(t *testing.T) {
					var archive bytes.Buffer
					if err := f.write(&archive); err != nil {
						t.Skipf("not offered: it cannot be written so: %v", err)
					}
					unchanged(t, p)
					_, err := p.Images().Import(ctx, compute.ImageSource{Reader: &archive, Format: format}, compute.ImportOptions{})
					assertRefused(t, err, f.must)
					forget(t, name)
				})
			}
			assert.NoError(t, testimage.Intact(dir))
		})
	}
}

func TestHostileArchives(t *testing.T) {
	dir := t.TempDir()
	_, err := testimage.Hostile(dir)
	require.NoError(t, err)
	oci, docker, err := testimage.HostileArchives(dir, "example.test/hostile:v1")
	require.NoError(t, err)
	p := open(t, Options{})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for format, archives := range map[compute.ImageFormat][]testimage.Archive{
		compute.OCIArchive: oci, compute.DockerArchive: docker,
	} {
		for _, a := range archives {
			t.Run(string(format)+"/"+a.Name, func(t *testing.T) {
				unchanged(t, p)
				_, err := p.Images().Import(ctx, compute.ImageSource{Reader: bytes.NewReader(a.Data), Format: format}, compute.ImportOptions{})
				require.Error(t, err)
				assertRefused(t, err, true)
				assert.NoError(t, testimage.Intact(dir))
			})
		}
	}
}

// TestDamagedLayers provokes the messages that the daemon has for layers that it
// cannot unpack.
func TestDamagedLayers(t *testing.T) {
	dir := t.TempDir()
	cases, err := testimage.Hostile(dir)
	require.NoError(t, err)
	p := open(t, Options{})
	r := testregistry.Test(t)
	says := map[string]string{
		"layer that is no archive":      "gzip|archive/tar|unexpected EOF",
		"layer of a file of a petabyte": "unexpected EOF",
		"layers in the wrong order":     "is said to be",
	}
	for _, c := range cases {
		text, ok := says[c.Name]
		if !ok {
			continue
		}
		delete(says, c.Name)
		t.Run(c.Name, func(t *testing.T) {
			ref := push(t, r, "damaged:v1", c.Image)
			unchanged(t, p)
			_, err := p.Images().Pull(context.Background(), ref, compute.PullOptions{})
			assert.ErrorIs(t, err, errdefs.ErrDataLoss)
			assert.Regexp(t, text, err)
		})
	}
	assert.Empty(t, says)
}

func TestMultipleFaultsAreToldAtOnce(t *testing.T) {
	p := open(t, Options{})
	_, err := p.Images().Pull(context.Background(), "", compute.PullOptions{
		PlainHTTP: []string{"/"}, Platform: compute.Platform{OS: "plan9"},
	})
	assert.Len(t, resource.FaultsOf(err), 3)
	_, err = p.Images().Import(context.Background(), compute.ImageSource{Size: -1}, compute.ImportOptions{Name: "::"})
	assert.Len(t, resource.FaultsOf(err), 4)
	assert.Len(t, resource.FaultsOf(p.Images().Export(context.Background(), nil, nil, compute.ExportOptions{Format: "zip"})), 3)
	assert.False(t, errors.Is(err, errors.ErrUnsupported))
}
