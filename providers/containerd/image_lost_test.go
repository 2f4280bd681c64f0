package containerd

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	managed "github.com/univirt/univirt/internal/daemon/containerd"
	testregistry "github.com/univirt/univirt/providers/providertest/registry"
	"github.com/univirt/univirt/resource"
)

// mortal starts a containerd that a test may kill.
func mortal(t *testing.T) *managed.Daemon {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: starts containerd")
	}
	dir, err := os.MkdirTemp("", "mortal")
	require.NoError(t, err)
	config := managed.Config{Dir: filepath.Join(dir, "c"), Binary: os.Getenv(binaryVariable), Restarts: -1}
	d, err := managed.Start(context.Background(), config)
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, d.Destroy(context.Background()))
		assert.NoError(t, os.RemoveAll(dir))
	})
	return d
}

// TestDaemonDiesDuringPull: the operation ends, and says what may be left.
func TestDaemonDiesDuringPull(t *testing.T) {
	t.Parallel()
	d := mortal(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	p, err := New(ctx, Options{Address: d.Address(), StateDir: filepath.Join(t.TempDir(), "state")})
	require.NoError(t, err)
	defer p.Close()
	r := testregistry.Test(t)
	ref := push(t, r, "app:v1", dataImage(t, 3, 200_000))
	r.Inject(on(testregistry.Blobs, testregistry.Slow(100_000)))

	var once sync.Once
	_, err = p.Images().Pull(ctx, ref, compute.PullOptions{Progress: func(now resource.Progress) {
		if now.Done > 0 {
			once.Do(func() {
				status, _ := d.Status()
				assert.NoError(t, syscall.Kill(status.PID, syscall.SIGKILL))
			})
		}
	}})
	require.NoError(t, ctx.Err())
	assert.ErrorIs(t, err, errdefs.ErrUnavailable)
	var e *resource.Error
	require.ErrorAs(t, err, &e)
	require.Len(t, e.Left, 1)
	assert.Equal(t, resource.Kind("lease"), e.Left[0].Kind)

	// Nobody waits for a daemon that is gone.
	for name, f := range map[string]func() error{
		"pull": func() error { _, err := p.Images().Pull(ctx, ref, compute.PullOptions{}); return err },
		"get":  func() error { _, err := p.Images().Get(ctx, ref); return err },
		"list": func() error { _, err := resource.Collect(p.Images().List(ctx, compute.ImageFilter{})); return err },
		"import": func() error {
			_, err := p.Images().Import(ctx, from(archived(t, compute.OCIArchive, "example.test/a:v1", dataImage(t, 1, 10)), compute.OCIArchive), compute.ImportOptions{})
			return err
		},
		"export": func() error { return p.Images().Export(ctx, &full{}, []string{ref}, compute.ExportOptions{}) },
		"delete": func() error { return p.Images().Delete(ctx, ref, compute.DeleteImageOptions{}) },
	} {
		assert.ErrorIs(t, f(), errdefs.ErrUnavailable, name)
	}
	require.NoError(t, ctx.Err())
}
