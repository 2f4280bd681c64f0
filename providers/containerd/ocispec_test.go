package containerd

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file, or writes it.
func golden(t *testing.T, name string, have []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, have, 0o644))
		return
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err, "write it with -update")
	assert.Equal(t, string(want), string(have), "write it with -update")
}

// testHost is a host of which everything is known.
func testHost(unified bool) host {
	return host{
		unified: unified, swap: true, files: 1 << 20,
		capabilities: append([]string{"CAP_SYS_ADMIN", "CAP_NET_ADMIN"}, defaultCapabilities...),
		devices: func() ([]specs.LinuxDevice, error) {
			return []specs.LinuxDevice{{Path: "/dev/test", Type: "c", Major: 1, Minor: 3}}, nil
		},
		// The real one depends on the processor and the kernel.
		seccomp: func(*specs.Spec) *specs.LinuxSeccomp {
			return &specs.LinuxSeccomp{DefaultAction: specs.ActErrno}
		},
	}
}

var testConfig = compute.ImageConfig{
	Entrypoint: []string{"/entry"}, Cmd: []string{"default"}, Dir: "/work", StopSignal: "SIGQUIT",
	Env: []string{"PATH=/bin", "FROM=image", "invalid", "NUL=\x00"},
}

func TestRuntimeSpec(t *testing.T) {
	for name, c := range map[string]struct {
		spec    compute.Spec
		unified bool
	}{
		"default":      {},
		"unified":      {unified: true, spec: compute.Spec{Resources: compute.Resources{CPUs: 1.5, CPUWeight: 200}}},
		"privileged":   {spec: compute.Spec{Security: compute.Security{Privileged: true}}},
		"host-network": {spec: compute.Spec{NetworkMode: compute.NetworkHost}},
		"process": {spec: compute.Spec{
			Hostname: "other",
			Process: compute.Process{Command: []string{"/run", "a"}, Args: []string{"b"}, TTY: true, Dir: "/elsewhere",
				Env: map[string]string{"FROM": "spec", "NEW": "x=y", "PATH": "/sbin"}},
			RLimits: map[string]compute.RLimit{"nofile": {Soft: 10, Hard: 20}, "core": {Soft: 0, Hard: -1}},
			Sysctls: map[string]string{"net.core.somaxconn": "100", "kernel.shmmax": "1"},
		}},
		"resources": {spec: compute.Spec{Resources: compute.Resources{CPUs: 0.25, CPUWeight: 50, CPUSet: "0-1",
			Memory: 64 << 20, MemoryReservation: 32 << 20, Swap: 16 << 20, PIDs: 100, ShmSize: 1 << 20}}},
		"security": {spec: compute.Spec{Security: compute.Security{AddCapabilities: []string{"NET_ADMIN"}, DropCapabilities: []string{"MKNOD", "NET_RAW"},
			ReadOnlyRoot: true, AllowPrivilegeEscalation: true, Seccomp: unconfined}}},
		"mounts": {spec: compute.Spec{Mounts: []compute.Mount{
			{Type: compute.MountTmpfs, Path: "/a/b/c", Size: 1 << 20},
			{Type: compute.MountBind, Path: "/a", Source: "/srv/a", ReadOnly: true},
			{Type: compute.MountBind, Path: "/b", Source: "/srv/b"},
		}}},
		"native": {spec: compute.Spec{Native: compute.Natives{SpecEdit{Version: "1", Edit: func(s *specs.Spec) error {
			s.Domainname = "edited"
			return nil
		}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			c.spec.Name = "web"
			translation := translation{
				id: "d6f1b4b5-7c0e-4a6f-9f3a-2a6b8a4f0f11", space: "univirt-default",
				spec: withChoices(c.spec, testConfig), image: testConfig, user: specs.User{UID: 7, GID: 8}, host: testHost(c.unified),
			}
			spec, err := translation.runtimeSpec()
			require.NoError(t, err)
			text, err := json.MarshalIndent(spec, "", "\t")
			require.NoError(t, err)
			golden(t, "spec-"+name+".json", append(text, '\n'))
		})
	}
}

func TestRuntimeSpecFaults(t *testing.T) {
	for name, c := range map[string]struct {
		spec  compute.Spec
		image compute.ImageConfig
		kind  error
		field string
	}{
		"no command":              {kind: errdefs.ErrInvalidArgument, field: "process.command"},
		"the host's sysctl":       {compute.Spec{Sysctls: map[string]string{"vm.swappiness": "1"}}, testConfig, errdefs.ErrInvalidArgument, "sysctls[vm.swappiness]"},
		"the host's network":      {compute.Spec{NetworkMode: compute.NetworkHost, Sysctls: map[string]string{"net.core.somaxconn": "1"}}, testConfig, errdefs.ErrInvalidArgument, "sysctls[net.core.somaxconn]"},
		"another native value":    {compute.Spec{Native: compute.Natives{compute.RecordedNative{Provider: Scheme, Version: "1"}}}, testConfig, errdefs.ErrInvalidArgument, "native"},
		"a seccomp profile's end": {compute.Spec{Security: compute.Security{Seccomp: "{"}}, testConfig, errdefs.ErrInvalidArgument, "security.seccomp"},
	} {
		t.Run(name, func(t *testing.T) {
			c.spec.Name = "web"
			_, err := translation{id: "x", space: "y", spec: withChoices(c.spec, c.image), image: c.image, host: testHost(false)}.runtimeSpec()
			field(t, resource.Fail("create", resource.Ref{}, err), c.kind, c.field)
		})
	}
	failing := SpecEdit{Version: "1", Edit: func(*specs.Spec) error { return errors.New("by the edit") }}
	_, err := translation{spec: withChoices(compute.Spec{Name: "web", Native: compute.Natives{failing}}, testConfig), image: testConfig, host: testHost(false)}.runtimeSpec()
	require.ErrorContains(t, err, "by the edit")
}

func TestChoices(t *testing.T) {
	spec := compute.Spec{Name: "web"}
	chosen := withChoices(spec, testConfig)
	assert.Empty(t, resource.Unmet(chosen, spec))
	assert.Equal(t, "web", chosen.Hostname)
	assert.Equal(t, "SIGQUIT", chosen.StopSignal)
	assert.Equal(t, 10*time.Second, chosen.StopGrace)
	assert.Equal(t, compute.NetworkNone, chosen.NetworkMode)
	assert.Equal(t, compute.Container, chosen.Kind)
	assert.Equal(t, "SIGTERM", withChoices(spec, compute.ImageConfig{StopSignal: "nonsense"}).StopSignal)
}

func TestAppArmorProfile(t *testing.T) {
	h := testHost(true)
	for _, profile := range []string{"", "loaded"} {
		h.apparmor = profile
		for _, privileged := range []bool{false, true} {
			spec := compute.Spec{Name: "web", Security: compute.Security{Privileged: privileged}}
			out, err := translation{spec: withChoices(spec, testConfig), image: testConfig, host: h}.runtimeSpec()
			require.NoError(t, err)
			want := profile
			if privileged {
				want = ""
			}
			assert.Equal(t, want, out.Process.ApparmorProfile)
		}
	}
}

func TestCapabilities(t *testing.T) {
	all := testHost(false).capabilities
	for name, c := range map[string]struct {
		security compute.Security
		want     []string
	}{
		"default":         {compute.Security{}, defaultCapabilities},
		"none":            {compute.Security{DropCapabilities: []string{"ALL"}}, nil},
		"these alone":     {compute.Security{DropCapabilities: []string{"ALL"}, AddCapabilities: []string{"CHOWN"}}, []string{"CAP_CHOWN"}},
		"all":             {compute.Security{AddCapabilities: []string{"ALL"}}, all},
		"all but these":   {compute.Security{AddCapabilities: []string{"ALL"}, DropCapabilities: []string{"SYS_ADMIN"}}, all[1:]},
		"privileged":      {compute.Security{Privileged: true}, all},
		"one more":        {compute.Security{AddCapabilities: []string{"NET_ADMIN"}}, all[1:]},
		"one less":        {compute.Security{DropCapabilities: []string{"AUDIT_WRITE"}}, defaultCapabilities[1:]},
		"added, not lost": {compute.Security{AddCapabilities: []string{"CHOWN"}, DropCapabilities: []string{"CHOWN"}}, defaultCapabilities},
	} {
		t.Run(name, func(t *testing.T) {
			have := translation{spec: compute.Spec{Security: c.security}, host: testHost(false)}.capabilities()
			assert.ElementsMatch(t, c.want, have)
			assert.IsIncreasing(t, append([]string{""}, have...))
		})
	}
}

func TestFieldTables(t *testing.T) {
	assert.Empty(t, Fields().Unknown(compute.Spec{}))
	assert.Empty(t, Changeable().Unknown(compute.Change{}))
	for _, path := range resource.FieldPaths(compute.Spec{}) {
		if rule := Fields().Rule(path); rule.Level != resource.FieldHonored {
			assert.NotEmpty(t, rule.Reason, path)
		}
	}
	for _, kind := range []compute.MountType{compute.MountVolume, compute.MountDevice} {
		err := Fields().Refuse(compute.Spec{Mounts: []compute.Mount{{Type: compute.MountTmpfs, Path: "/a"}, {Type: kind, Source: "data", Path: "/b"}}})
		field(t, err, errors.ErrUnsupported, "mounts[1].type")
	}
	field(t, Fields().Refuse(compute.Spec{Kind: compute.VM}), errors.ErrUnsupported, "kind")
	for _, f := range compute.Features() {
		s, ok := Features()[f]
		assert.True(t, ok, f)
		assert.True(t, s.Supported || s.Reason != "", f)
	}
}
