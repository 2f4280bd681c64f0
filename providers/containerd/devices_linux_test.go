package containerd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	testimage "github.com/univirt/univirt/providers/providertest/image"
	"github.com/univirt/univirt/resource"
)

// loopDevice makes a block device for a test, with something on it.
func loopDevice(t *testing.T, content string) (device string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(file, append([]byte(content), make([]byte, 4096-len(content))...), 0o600))
	out, err := exec.CommandContext(t.Context(), "losetup", "--find", "--show", file).CombinedOutput()
	require.NoError(t, err, "%s", out)
	device = strings.TrimSpace(string(out))
	t.Cleanup(func() {
		out, err := exec.Command("losetup", "--detach", device).CombinedOutput()
		require.NoError(t, err, "%s", out)
	})
	return device
}

// cdiFolder says of a device what a vendor's CDI specification would.
func cdiFolder(t *testing.T, device string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "vendor.json"), []byte(`{
		"cdiVersion": "0.5.0", "kind": "vendor.example/disk",
		"devices": [{"name": "one", "containerEdits": {
			"env": ["VENDOR_DISK=one"],
			"deviceNodes": [{"path": "/dev/vendor0", "hostPath": "`+device+`", "permissions": "rw"}]
		}}]
	}`), 0o600))
	return dir
}

func TestDevicesOfTheHost(t *testing.T) {
	device := loopDevice(t, "on the disk")
	p := openGuest(t, Options{})
	p.host.cdi = []string{cdiFolder(t, device)}
	ctx := t.Context()
	read := func(inst compute.Instance, file string) (string, error) {
		out, err := compute.Output(ctx, inst, testimage.Path, "read", file)
		return strings.TrimRight(string(out), "\x00\n"), err
	}
	for name, c := range map[string]struct {
		device  compute.Device
		path    string
		written bool
	}{
		"at its own path":     {compute.Device{Source: device}, device, true},
		"at another, to read": {compute.Device{Source: device, Path: "/dev/deep/data", Permissions: "r"}, "/dev/deep/data", false},
		"by CDI":              {compute.Device{Source: "vendor.example/disk=one"}, "/dev/vendor0", true},
	} {
		t.Run(name, func(t *testing.T) {
			spec := guestSpec("web", "sleep", "1h")
			spec.Devices = []compute.Device{c.device}
			inst := start(t, p, spec)
			got, err := read(inst, c.path)
			require.NoError(t, err)
			assert.Equal(t, "on the disk", got)
			_, err = compute.Output(ctx, inst, testimage.Path, "write", c.path, "on the disk")
			assert.Equal(t, c.written, err == nil, "%v", err)
			env, err := compute.Output(ctx, inst, testimage.Path, "env")
			require.NoError(t, err)
			assert.Equal(t, strings.HasPrefix(c.device.Source, "vendor"), strings.Contains(string(env), "VENDOR_DISK=one"))
			require.NoError(t, inst.Delete(ctx, compute.DeleteOptions{Force: true}))
		})
	}
	inst := start(t, p, guestSpec("web", "sleep", "1h"))
	_, err := read(inst, device)
	require.Error(t, err, "who has not asked for it has not got it")
	require.NoError(t, inst.Delete(ctx, compute.DeleteOptions{Force: true}))
}

func TestDevicesThatCannotBe(t *testing.T) {
	p := openGuest(t, Options{})
	empty := t.TempDir()
	p.host.cdi = []string{cdiFolder(t, "/dev/null"), filepath.Join(empty, "none")}
	for source, want := range map[string]string{
		"/dev/none-such":          "does not exist on the host",
		"/etc/passwd":             "is no device",
		empty:                     "is no device",
		"vendor.example/disk=two": "is no CDI device that the host knows",
	} {
		spec := guestSpec("web", "sleep", "1h")
		spec.Devices = []compute.Device{{Source: "/dev/null"}, {Source: source}}
		_, err := p.Instances().Create(t.Context(), spec)
		require.ErrorIs(t, err, errdefs.ErrInvalidArgument, source)
		faults := resource.FaultsOf(err)
		require.Len(t, faults, 1, source)
		assert.Equal(t, "devices[1].source", faults[0].Field, source)
		assert.Contains(t, faults[0].Reason, want)
	}
	spec := guestSpec("web", "sleep", "1h")
	spec.Devices = []compute.Device{{Source: "vendor.example/disk=one", Permissions: "r"}}
	_, err := p.Instances().Create(t.Context(), spec)
	require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
	_, err = p.Instances().Get(t.Context(), "web")
	require.ErrorIs(t, err, errdefs.ErrNotFound, "nothing is left of what cannot be")
}

func TestDevicesOfAFolder(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "sub"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	for _, name := range []string{"b", "sub/a", "console"} {
		out, err := exec.CommandContext(t.Context(), "mknod", filepath.Join(dir, name), "c", "1", "3").CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	_, err := deviceNodes(compute.Device{Source: filepath.Join(dir, "pipe")})
	require.Error(t, err)
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(dir, link))
	nodes, err := deviceNodes(compute.Device{Source: link, Path: "/dev/all/"})
	require.NoError(t, err)
	var paths []string
	for _, n := range nodes {
		paths = append(paths, n.Path)
		assert.Equal(t, [2]int64{1, 3}, [2]int64{n.Major, n.Minor})
	}
	assert.Equal(t, []string{"/dev/all/b", "/dev/all/sub/a"}, paths)

	out := &specs.Spec{Linux: &specs.Linux{Resources: &specs.LinuxResources{}, Devices: []specs.LinuxDevice{{Path: "/dev/null", Type: "b"}}}}
	require.NoError(t, addDevices(out, []compute.Device{{Source: "/dev/null", Permissions: "mr"}}, nil))
	require.Len(t, out.Linux.Devices, 1, "the one that is asked for takes the place of another")
	assert.Equal(t, "c", out.Linux.Devices[0].Type)
	assert.Equal(t, "rm", out.Linux.Resources.Devices[0].Access)
}
