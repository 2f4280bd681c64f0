package compute_test

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/resource"
)

func TestImportFile(t *testing.T) {
	here, there := fake.Test(t, fake.Options{}), fake.Test(t, fake.Options{})
	pulled, err := here.Images().Pull(t.Context(), "nginx:1.27", compute.PullOptions{})
	require.NoError(t, err)
	var archive bytes.Buffer
	require.NoError(t, here.Images().Export(t.Context(), &archive, []string{"nginx:1.27"}, compute.ExportOptions{}))
	size := int64(archive.Len())
	path := filepath.Join(t.TempDir(), "nginx.tar")
	require.NoError(t, os.WriteFile(path, archive.Bytes(), 0o600))

	var last resource.Progress
	images, err := compute.ImportFile(t.Context(), there.Images(), path, compute.OCIArchive, compute.ImportOptions{
		Name: "mine:v1", Progress: func(p resource.Progress) { last = p },
	})
	require.NoError(t, err)
	require.Len(t, images, 1)
	assert.Equal(t, pulled.Ref.ID, images[0].Ref.ID)
	assert.Equal(t, []string{"docker.io/library/mine:v1"}, images[0].Names)
	assert.Equal(t, size, last.Total, "the size of the file is known")
}

func TestImportFileRefuses(t *testing.T) {
	dir := t.TempDir()
	there := filepath.Join(dir, "there.tar")
	require.NoError(t, os.WriteFile(there, []byte("x"), 0o600))
	done, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx    context.Context
		path   string
		format compute.ImageFormat
		kind   error
		field  string
	}{
		"a file that is not there": {t.Context(), filepath.Join(dir, "none"), compute.OCIArchive, errdefs.ErrNotFound, "path"},
		"an empty path":            {t.Context(), "", compute.OCIArchive, errdefs.ErrNotFound, "path"},
		"a folder":                 {t.Context(), dir, compute.OCIArchive, errdefs.ErrInvalidArgument, "path"},
		"no format":                {t.Context(), there, "", errdefs.ErrInvalidArgument, "format"},
		"an unknown format":        {t.Context(), there, "zip", errdefs.ErrInvalidArgument, "format"},
		"a context that is done":   {done, there, compute.OCIArchive, context.Canceled, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := fake.Test(t, fake.Options{})
			_, err := compute.ImportFile(c.ctx, p.Images(), c.path, c.format, compute.ImportOptions{})
			var e *resource.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, "import", e.Op)
			require.ErrorIs(t, err, c.kind)
			assert.Equal(t, c.field, e.Field)
			if c.kind == errdefs.ErrNotFound {
				assert.ErrorIs(t, err, fs.ErrNotExist)
			}
		})
	}
}
