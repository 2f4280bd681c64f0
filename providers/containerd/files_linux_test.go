package containerd

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/univirt/univirt/compute"
)

func TestOptionsOfAnOverlay(t *testing.T) {
	var layers []string
	for n := range 100 {
		layers = append(layers, fmt.Sprintf("/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/%d/fs", n))
	}
	short := make([]string, len(layers))
	for n, dir := range layers {
		short[n] = strings.TrimPrefix(dir, "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/")
	}
	for name, c := range map[string]struct {
		options  []string
		readOnly bool
		want     mounting
	}{
		"to write to": {[]string{"workdir=/w", "upperdir=/u", "lowerdir=/a:/b", "index=off"}, false,
			mounting{kind: "overlay", source: "overlay", data: "lowerdir=/a:/b,workdir=/w,index=off,upperdir=/u"}},
		"to read": {[]string{"workdir=/w", "upperdir=/u", "lowerdir=/a:/b", "index=off"}, true,
			mounting{kind: "overlay", source: "overlay", flags: unix.MS_RDONLY, data: "lowerdir=/u:/a:/b,index=off"}},
		"a view": {[]string{"lowerdir=/a:/b", "ro"}, true,
			mounting{kind: "overlay", source: "overlay", flags: unix.MS_RDONLY, data: "lowerdir=/a:/b"}},
		"many layers": {[]string{"workdir=/w", "upperdir=/u", "lowerdir=" + strings.Join(layers, ":")}, false,
			mounting{kind: "overlay", source: "overlay", from: "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots",
				data: "lowerdir=" + strings.Join(short, ":") + ",workdir=/w,upperdir=/u"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := overlay(c.options, c.readOnly)
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
	_, err := overlay([]string{"lowerdir=" + strings.Repeat("/a/b/c:", 5000) + "/a/b/c"}, true)
	require.ErrorContains(t, err, "more layers")
}

// TestFilesOfWhatDoesNotRun holds that a root filesystem is mounted where nobody sees it,
// and only while it is looked at; and that a link of the image leads nowhere else.
func TestFilesOfWhatDoesNotRun(t *testing.T) {
	t.Parallel()
	// An overlay, and one folder.
	for _, snapshotter := range []string{"overlayfs", "native"} {
		t.Run(snapshotter, func(t *testing.T) { filesOfWhatDoesNotRun(t, openGuest(t, Options{Snapshotter: snapshotter})) })
	}
}

func filesOfWhatDoesNotRun(t *testing.T, p *Provider) {
	ctx := t.Context()
	spec := guestSpec("web", "sleep", "1h")
	spec.Files = []compute.File{{Path: "/etc/made/by/create", Data: []byte("content")}}
	inst := create(t, p, spec)
	files, err := compute.Files(ctx, inst)
	require.NoError(t, err)
	f, err := files.Open("etc/made/by/create")
	require.NoError(t, err)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	assert.NotContains(t, string(mounts), p.state.root)
	require.NoError(t, f.Close())
	archive := manyFiles(t, 3, 100)
	require.NoError(t, compute.CopyIn(ctx, inst, "/etc/made", bytes.NewReader(archive), compute.CopyOptions{}))
	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
	assert.Equal(t, "content", run(t, inst, compute.ExecSpec{}, "read", "/etc/made/by/create").out)
	for _, name := range []string{"etc/made/by/create", "etc/made/copied/2"} {
		_, err := fs.ReadFile(files, name)
		require.NoError(t, err, "while it runs, by the same value")
	}
	require.NoError(t, inst.Stop(ctx, compute.StopOptions{Force: true}))
	_, err = fs.ReadFile(files, "etc/made/copied/2")
	require.NoError(t, err, "and afterwards")
	require.NoError(t, inst.Delete(ctx, compute.DeleteOptions{}))
	_, err = fs.ReadFile(files, "etc/made/by/create")
	require.Error(t, err)
}
