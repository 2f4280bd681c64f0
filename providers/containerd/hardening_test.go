package containerd

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/providertest/guest"
)

func harden(t *testing.T, p *Provider, name string, security compute.Security) guest.Hardening {
	t.Helper()
	spec := guestSpec(name, "hardening")
	spec.Security = security
	inst := start(t, p, spec)
	stdout, stderr := output(t, inst, "")
	var h guest.Hardening
	require.NoError(t, json.Unmarshal([]byte(stdout), &h), stderr)
	return h
}

func names(capabilities []string) []string {
	var out []string
	for _, c := range capabilities {
		out = append(out, strings.TrimPrefix(c, "CAP_"))
	}
	return out
}

// TestHardening asks a program inside how far it is kept from the host.
func TestHardening(t *testing.T) {
	p := openGuest(t, Options{})
	h := harden(t, p, "default", compute.Security{})
	assert.Equal(t, 2, h.Seccomp)
	assert.True(t, h.NoNewPrivs)
	for _, set := range [][]string{h.Bounding, h.Effective, h.Permitted} {
		assert.ElementsMatch(t, names(defaultCapabilities), set)
	}
	assert.Empty(t, h.Inheritable)
	assert.Empty(t, h.Ambient)
	for path, state := range h.Paths {
		// What does not exist on this kernel needs no mask.
		assert.NotEqual(t, guest.PathOpen, state, path)
	}
	// Docker's default set allows these: the device cgroup keeps off the devices
	// that could be made, and a trace sees the instance's own processes only.
	allowed := []string{"mknod", "ptrace", "socket-raw"}
	for call := range h.Calls {
		assert.Equal(t, !slices.Contains(allowed, call), h.Forbids(call), "%s: %q", call, h.Calls[call])
	}

	h = harden(t, p, "escalation", compute.Security{AllowPrivilegeEscalation: true})
	assert.False(t, h.NoNewPrivs)
	assert.Equal(t, 2, h.Seccomp)
	h = harden(t, p, "unconfined", compute.Security{Seccomp: unconfined, DropCapabilities: []string{"ALL"}})
	assert.Equal(t, 0, h.Seccomp)
	assert.Empty(t, h.Bounding)
	h = harden(t, p, "profile", compute.Security{Seccomp: `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"acct","action":"SCMP_ACT_ERRNO"}]}`})
	assert.Equal(t, 2, h.Seccomp)
	h = harden(t, p, "privileged", compute.Security{Privileged: true})
	assert.Equal(t, 0, h.Seccomp)
	assert.False(t, h.NoNewPrivs)
	assert.ElementsMatch(t, names(p.host.capabilities), h.Effective)
	assert.Equal(t, guest.PathOpen, h.Paths["/proc/sys"])
}

// TestUnprivilegedUserHasNothing: capabilities are root's alone.
func TestUnprivilegedUserHasNothing(t *testing.T) {
	p := openGuest(t, Options{})
	spec := guestSpec("a", "hardening")
	spec.Process.User = "user"
	stdout, stderr := output(t, start(t, p, spec), "")
	var h guest.Hardening
	require.NoError(t, json.Unmarshal([]byte(stdout), &h), stderr)
	assert.Empty(t, h.Effective)
	assert.Empty(t, h.Permitted)
}

func TestMountsInside(t *testing.T) {
	p := openGuest(t, Options{})
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(dir+"/file", []byte("of the host"), 0o644))
	spec := guestSpec("a", "sleep", "1h")
	spec.Security.ReadOnlyRoot = true
	spec.Mounts = []compute.Mount{
		{Type: compute.MountTmpfs, Path: "/tmp/memory", Size: 1 << 20},
		{Type: compute.MountBind, Path: "/data/ro", Source: dir, ReadOnly: true},
		{Type: compute.MountBind, Path: "/data/rw", Source: dir},
	}
	inst := start(t, p, spec)
	assert.Equal(t, 0, run(t, inst, compute.ExecSpec{}, "write", "/tmp/memory/x", "1").exit.Code)
	assert.Equal(t, "of the host", run(t, inst, compute.ExecSpec{}, "read", "/data/ro/file").out)
	for _, path := range []string{"/x", "/data/ro/x"} {
		r := run(t, inst, compute.ExecSpec{}, "write", path, "1")
		assert.Equal(t, 1, r.exit.Code)
		assert.Contains(t, r.err, "read-only")
	}
	assert.Equal(t, 0, run(t, inst, compute.ExecSpec{}, "write", "/data/rw/x", "1").exit.Code)
	content, err := os.ReadFile(dir + "/x")
	require.NoError(t, err)
	assert.Equal(t, "1", string(content))
}
