package containerd

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

func TestRemoveRefuses(t *testing.T) {
	foreign := t.TempDir()
	thesis := filepath.Join(foreign, "thesis.txt")
	require.NoError(t, os.WriteFile(thesis, nil, 0o600))
	open := filepath.Join(t.TempDir(), "open")
	require.NoError(t, os.Mkdir(open, 0o700))
	require.NoError(t, os.Chmod(open, 0o777))
	for name, c := range map[string]struct {
		dir  string
		kind error
	}{
		"no folder":               {"", errdefs.ErrInvalidArgument},
		"a relative one":          {"d", errdefs.ErrInvalidArgument},
		"the root folder":         {"/", errdefs.ErrInvalidArgument},
		"somebody else's":         {foreign, errdefs.ErrFailedPrecondition},
		"a file":                  {thesis, errdefs.ErrFailedPrecondition},
		"one that others can use": {open, errdefs.ErrPermissionDenied},
	} {
		t.Run(name, func(t *testing.T) {
			err := Remove(t.Context(), c.dir)
			field(t, err, c.kind, "dir")
			var e *resource.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, "remove", e.Op)
		})
	}
	assert.FileExists(t, thesis)
	require.NoError(t, Remove(t.Context(), filepath.Join(foreign, "none")))
	done, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, Remove(done, foreign), context.Canceled)
}

// TestRemove: a daemon that was left running goes, with an instance that runs and
// writes, and nothing of them is left anywhere.
func TestRemove(t *testing.T) {
	startShared(t) // skips where there is none
	parent, err := os.MkdirTemp("", "remove")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(parent)) })
	dir := filepath.Join(parent, "d")
	t.Cleanup(func() { assert.NoError(t, Remove(context.Background(), dir)) })
	namespace := "remove-" + testRun
	p, err := New(t.Context(), Options{
		Managed:   &Managed{Dir: dir, Binary: os.Getenv(binaryVariable), Leave: true},
		Namespace: namespace,
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Close()) })
	importGuest(t, p)
	inst := start(t, p, guestSpec("chatty", "lines", "1000000", "1ms"))
	for _, err := range compute.Logs(t.Context(), inst, compute.LogOptions{Follow: true}) {
		require.NoError(t, err)
		break
	}
	pid := info(t, inst).PID
	socket := shimSocketOf(t, p, inst)
	require.FileExists(t, socket)
	require.DirExists(t, filepath.Join(p.conn.runcRoot, p.space, inst.ID()))

	field(t, Remove(t.Context(), dir), errdefs.ErrFailedPrecondition, "dir")
	assert.Equal(t, compute.Running, info(t, inst).State, "it is in use, and nothing was changed")
	require.NoError(t, p.Close())
	require.NotEmpty(t, namingFolder(t, dir), "it was left running")

	require.NoError(t, Remove(t.Context(), dir))
	assert.NoDirExists(t, dir)
	// Whoever adopted a process that has ended may have yet to reap it.
	line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	assert.True(t, err != nil || len(line) == 0, "%s goes on", line)
	assert.NoFileExists(t, socket)
	assert.NoDirExists(t, filepath.Join("/run/containerd/runc", p.space))
	assert.Empty(t, namingFolder(t, dir), "processes")
	cgroups, err := cgroupsOf(p.space)
	require.NoError(t, err)
	assert.Empty(t, cgroups)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	assert.NotContains(t, string(mounts), dir)
	require.NoError(t, Remove(t.Context(), dir), "twice")
}

// TestShutDownLeavesNothingInRun: when the last instance is gone and the daemon is
// shut down, nothing of them is left outside of the folder.
func TestShutDownLeavesNothingInRun(t *testing.T) {
	p, inst := ownDaemon(t)
	socket := shimSocketOf(t, p, inst)
	require.FileExists(t, socket)
	root := filepath.Join(p.opts.Managed.Dir, "state", "runc")
	require.DirExists(t, filepath.Join(root, p.space, inst.ID()))
	_, err := compute.Output(t.Context(), inst, "/bin/guest", "hostname")
	require.NoError(t, err)
	require.NoError(t, inst.Delete(t.Context(), compute.DeleteOptions{Force: true}))
	require.NoError(t, p.Close())
	assert.NoFileExists(t, socket)
	assert.NoDirExists(t, filepath.Join("/run/containerd/runc", p.space, inst.ID()))
	assert.NoDirExists(t, filepath.Join(root, p.space, inst.ID()))
	assert.Empty(t, namingFolder(t, p.opts.Managed.Dir), "processes")
}

// shimSocketOf is the socket of the shim of an instance that runs, which the
// instance's bundle names.
func shimSocketOf(t *testing.T, p *Provider, inst compute.Instance) string {
	t.Helper()
	bundle := filepath.Join(p.opts.Managed.Dir, "state", "io.containerd.runtime.v2.task", p.space, inst.ID())
	for _, name := range []string{"bootstrap.json", "address"} {
		text, err := os.ReadFile(filepath.Join(bundle, name))
		if err != nil {
			continue
		}
		_, path, found := strings.Cut(string(text), "unix://")
		require.True(t, found, string(text))
		path, _, _ = strings.Cut(path, `"`)
		return path
	}
	require.Fail(t, "the bundle names no socket")
	return ""
}

// namingFolder lists the processes whose command line names a folder.
func namingFolder(t *testing.T, dir string) []string {
	t.Helper()
	found, err := processes(dir + "/")
	require.NoError(t, err)
	return found
}
