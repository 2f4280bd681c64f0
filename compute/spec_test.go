package compute_test

import (
	"net/netip"
	"regexp"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

const someID = "0f8fad5b-d9cb-469f-a165-70867728950e"

var addr = netip.MustParseAddr

// full is a spec in which every field is set. It is valid, although no provider
// honours all of it.
func full() compute.Spec {
	return compute.Spec{
		Name: "web", Kind: compute.VM, Image: "docker.io/library/nginx:1.27", Pull: compute.PullAlways,
		Process: compute.Process{
			Command: []string{"/bin/server", "-v"}, Args: []string{"--port", "80"},
			Env: map[string]string{"A": "1", "EMPTY": ""}, User: "www:www", Dir: "/srv", TTY: true, Stdin: true,
		},
		Hostname: "web.example.com", StopSignal: "SIGQUIT", StopGrace: time.Minute, Init: true,
		Resources: compute.Resources{
			CPUs: 1.5, CPUWeight: 200, CPUSet: "0-3,6", Memory: 512 * resource.MiB, MemoryReservation: 256 * resource.MiB,
			Swap: resource.GiB, PIDs: 100, ShmSize: 64 * resource.MiB,
			DiskRead: 1, DiskWrite: 2, NetReceive: 3, NetTransmit: 4,
		},
		RLimits:  map[string]compute.RLimit{"nofile": {Soft: 1024, Hard: 4096}, "core": {Soft: 0, Hard: -1}},
		Sysctls:  map[string]string{"net.core.somaxconn": "1024"},
		RootDisk: 10 * resource.GiB,
		Mounts: []compute.Mount{
			{Type: compute.MountVolume, Source: "data", SubPath: "a/b", Path: "/data", ReadOnly: true},
			{Type: compute.MountTmpfs, Path: "/tmp", Size: resource.MiB},
			{Type: compute.MountBind, Source: "/etc/ssl", Path: "/etc/ssl"},
			{Type: compute.MountDevice, Source: someID, Path: "/dev/data"},
		},
		Files: []compute.File{
			{Path: "/etc/app.conf", Data: []byte("a=1\n"), Mode: 0o600, UID: 1000, GID: 1000},
			{Path: "/etc/key", Secret: resource.NewSecret("hunter2")},
		},
		Networks: []compute.NetworkAttachment{
			{Network: "backend", MAC: network.HardwareAddr{2, 0, 0, 0, 0, 1}, Addresses: []netip.Addr{addr("10.1.0.5")}, Aliases: []string{"www"}},
			{Endpoint: someID},
		},
		DNS: compute.DNS{
			Servers: []netip.Addr{addr("192.0.2.53")}, Search: []string{"example.com"}, Options: []string{"ndots:2"},
			Hosts: map[string]netip.Addr{"db": addr("10.1.0.6")},
		},
		Ports: []network.Port{
			{Name: "http", Protocol: network.TCP, Instance: 80, Publish: true, HostIP: addr("192.0.2.1"), Host: 8080},
		},
		Restart: compute.RestartPolicy{Mode: compute.RestartOnFailure, MaxRetries: 3, Backoff: time.Second},
		Health: &compute.Probe{
			Exec: []string{"/bin/check"}, Interval: time.Second, Timeout: time.Second, StartPeriod: time.Second, Failures: 2,
		},
		Readiness: &compute.Probe{HTTP: &compute.HTTPProbe{Port: "http", Path: "/ready?full=1", HTTPS: true}},
		Lifetime:  resource.Until(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)),
		Placement: compute.Placement{
			Zone: "a", Hosts: resource.Select(resource.Exists("ssd")), Near: resource.Select(resource.Equals("tier", "db")),
			Apart: resource.Select(resource.Equals("tier", "web")), Required: true,
		},
		Security: compute.Security{
			Privileged: true, AddCapabilities: []string{"NET_ADMIN"}, DropCapabilities: []string{"ALL"}, Seccomp: `{"defaultAction":"x"}`,
			ReadOnlyRoot: true, AllowPrivilegeEscalation: true, UserNamespace: true,
		},
		Devices:     []compute.Device{{Source: "/dev/kvm", Path: "/dev/kvm0", Permissions: "rwm"}, {Source: "nvidia.com/gpu=mig1:0"}},
		CloudInit:   &compute.CloudInit{UserData: resource.NewSecret("#cloud-config"), MetaData: "{}", NetworkConfig: "version: 2"},
		Boot:        &compute.Boot{Kernel: "/boot/vmlinuz", Initrd: "/boot/initrd", CommandLine: "quiet", Firmware: compute.FirmwareUEFI, Machine: "q35"},
		Labels:      resource.Labels{"tier": "web"},
		Annotations: resource.Annotations{"note": "any text"},
		Native:      compute.Natives{compute.RecordedNative{Provider: "containerd", Version: "1"}},
	}
}

// What excludes something else in the full spec, or stands for itself elsewhere.
var notInFull = map[string]bool{
	"networkMode": true, "lifetime.ephemeral": true, "health.tcp": true, "readiness.tcp": true,
	"health.http.port": true, "health.http.path": true, "health.http.https": true,
	"readiness.exec": true, "readiness.interval": true, "readiness.timeout": true,
	"readiness.startPeriod": true, "readiness.failures": true,
}

func TestFullSpecSetsEveryField(t *testing.T) {
	set := map[string]bool{}
	index := regexp.MustCompile(`\[\d+\]`)
	for _, path := range resource.SetFields(full()) {
		set[index.ReplaceAllString(path, "[]")] = true
	}
	for _, path := range resource.FieldPaths(compute.Spec{}) {
		assert.Equal(t, !notInFull[path], set[path], "%s", path)
	}
	assert.Empty(t, full().Validate())
}

func TestSpecRoundTrip(t *testing.T) {
	for _, spec := range []compute.Spec{{}, {Name: "a"}, full()} {
		data, err := compute.Encode(spec)
		require.NoError(t, err)
		again, err := compute.Encode(spec.Clone())
		require.NoError(t, err)
		assert.Equal(t, string(data), string(again))
		back, err := compute.Decode(data)
		require.NoError(t, err)
		assert.Empty(t, resource.Unmet(back, spec), "what was stored meets what was asked for")
		var secrets []string
		if spec.CloudInit != nil {
			secrets = []string{"files[1].secret", "cloudInit.userData"}
		}
		assert.Equal(t, secrets, resource.Diff(spec, back), "only secrets are lost")
		once, err := compute.Encode(back)
		require.NoError(t, err)
		assert.Equal(t, string(data), string(once))
	}
}

func TestDocumentHoldsNoSecret(t *testing.T) {
	data, err := compute.Encode(full())
	require.NoError(t, err)
	assert.NotContains(t, string(data), "hunter2")
	assert.NotContains(t, string(data), "cloud-config")
	back, err := compute.Decode(data)
	require.NoError(t, err)
	assert.Equal(t, resource.Faults{
		{Field: "files[1].secret", Reason: "was redacted and must be given again"},
		{Field: "cloudInit.userData", Reason: "was redacted and must be given again"},
	}, back.Validate())
}

func TestDecodeRefuses(t *testing.T) {
	for text, is := range map[string]func(error) bool{
		``:     errdefs.IsInvalidArgument,
		`null`: errdefs.IsFailedPrecondition,
		`{"apiVersion":"univirt.io/v2","kind":"instance","spec":{}}`:                                                      errdefs.IsFailedPrecondition,
		`{"apiVersion":"univirt.io/v1alpha1","kind":"volume","spec":{}}`:                                                  errdefs.IsInvalidArgument,
		`{"apiVersion":"univirt.io/v1alpha1","kind":"instance","spec":{"nam":"a"}}`:                                       errdefs.IsInvalidArgument,
		`{"apiVersion":"univirt.io/v1alpha1","kind":"instance","spec":{"process":{"cmd":[]}}}`:                            errdefs.IsInvalidArgument,
		`{"apiVersion":"univirt.io/v1alpha1","kind":"instance","spec":{"stopGrace":"10s"}}`:                               errdefs.IsInvalidArgument,
		`{"apiVersion":"univirt.io/v1alpha1","kind":"instance","spec":{"resources":{"memory":1e99}}}`:                     errdefs.IsInvalidArgument,
		`{"apiVersion":"univirt.io/v1alpha1","kind":"instance","spec":{"native":[{"provider":"a","version":"1","x":1}]}}`: errdefs.IsInvalidArgument,
		`{"apiVersion":"univirt.io/v1alpha1","kind":"instance","spec":{"name":"a"}}{}`:                                    errdefs.IsInvalidArgument,
	} {
		_, err := compute.Decode([]byte(text))
		assert.True(t, is(err), "%s: %v", text, err)
	}
}

func TestSpecClone(t *testing.T) {
	original := full()
	copied := original.Clone()
	assert.Equal(t, original, copied)
	copied.Process.Command[0] = "changed"
	copied.Process.Env["A"] = "changed"
	copied.RLimits["core"] = compute.RLimit{}
	copied.Mounts[0].Path = "changed"
	copied.Files[0].Data[0] = 'x'
	copied.Networks[0].MAC[0] = 9
	copied.Networks[0].Addresses[0] = addr("10.9.9.9")
	copied.DNS.Hosts["db"] = addr("10.9.9.9")
	copied.Ports[0].Host = 9
	copied.Health.Exec[0] = "changed"
	copied.Readiness.HTTP.Port = "changed"
	copied.CloudInit.MetaData = "changed"
	copied.Boot.Machine = "changed"
	copied.Labels["tier"] = "changed"
	copied.Native[0] = nil
	assert.Equal(t, full(), original)
}

func TestChangeTo(t *testing.T) {
	grace, one := time.Hour, "1"
	spec := full()
	changed := compute.Change{
		Resources: &compute.Resources{Memory: resource.GiB}, Restart: &compute.RestartPolicy{Mode: compute.RestartAlways},
		StopGrace: &grace, Labels: resource.LabelPatch{"tier": nil, "a": &one}, Annotations: resource.LabelPatch{"b": &one},
	}.To(spec)
	assert.Equal(t, full(), spec, "the spec is copied")
	assert.Equal(t, []string{
		"stopGrace", "resources.cpus", "resources.cpuWeight", "resources.cpuSet", "resources.memory", "resources.memoryReservation",
		"resources.swap", "resources.pids", "resources.shmSize", "resources.diskRead", "resources.diskWrite",
		"resources.netReceive", "resources.netTransmit", "restart.mode", "restart.maxRetries", "restart.backoff",
		"labels", "annotations",
	}, resource.Diff(spec, changed))
	assert.Equal(t, resource.Labels{"a": "1"}, changed.Labels)
	assert.Equal(t, resource.Annotations{"note": "any text", "b": "1"}, changed.Annotations)
	assert.Equal(t, time.Hour, changed.StopGrace)
	assert.Empty(t, resource.Diff(spec, compute.Change{}.To(spec)))
}

// An emptied struct behind a pointer takes bounds away: a provider that cannot
// change them must not take it for nothing.
func TestAnEmptyChangeOfResourcesIsNotOverlooked(t *testing.T) {
	table := resource.FieldTable{}.Honored("labels").Refused("limits are fixed", "resources.*")
	err := table.Refuse(compute.Change{Resources: &compute.Resources{}})
	assert.EqualError(t, err, "resources: is not supported: limits are fixed")
	table.Honored("resources.memory")
	assert.NoError(t, table.Refuse(compute.Change{Resources: &compute.Resources{}}))
}

func FuzzDecode(f *testing.F) {
	for _, spec := range []compute.Spec{{}, {Name: "a"}, full()} {
		data, err := compute.Encode(spec)
		require.NoError(f, err)
		f.Add(data)
	}
	for _, seed := range []string{
		`{"name":"a","resources":{"cpus":1e308,"cpuSet":"0-","memory":-1},"rlimits":{"":{}},"sysctls":{"a..b":""}}`,
		`{"name":"a","mounts":[{},{"type":"bind","source":"/..","path":"//"}],"files":[{"path":"/","mode":4294967295}]}`,
		`{"name":"a","health":{},"readiness":{"http":{"port":"0","path":"//host/%zz"}},"cloudInit":{},"boot":{"initrd":"x"}}`,
		`{"name":"a","native":[{"provider":"","version":""},null],"devices":[{"source":"a/b=c:"}],"placement":{"near":"a in ()"}}`,
	} {
		f.Add([]byte(`{"apiVersion":"univirt.io/v1alpha1","kind":"instance","spec":` + seed + `}`))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		spec, err := compute.Decode(data)
		if err != nil {
			return
		}
		faults := spec.Validate()
		canonical, err := compute.Encode(spec)
		if len(faults) == 0 {
			require.NoError(t, err, "a valid spec can be stored")
		}
		if err != nil {
			return
		}
		back, err := compute.Decode(canonical)
		require.NoError(t, err)
		assert.Empty(t, resource.Unmet(back, spec))
		assert.Empty(t, resource.Diff(spec, spec.Clone()))
		once, err := compute.Encode(back)
		require.NoError(t, err)
		assert.Equal(t, string(canonical), string(once))
	})
}

func BenchmarkValidate(b *testing.B) {
	spec := full()
	b.ReportAllocs()
	for b.Loop() {
		if faults := spec.Validate(); len(faults) > 0 {
			b.Fatal(faults)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	spec := full()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := compute.Encode(spec); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	data, err := compute.Encode(full())
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := compute.Decode(data); err != nil {
			b.Fatal(err)
		}
	}
}

func TestSnapshotSpecHasACanonicalForm(t *testing.T) {
	spec := compute.SnapshotSpec{Name: "v1", Memory: true, Labels: resource.Labels{"tier": "db"}}
	data, err := resource.MarshalSpec(resource.KindSnapshot, spec)
	require.NoError(t, err)
	assert.JSONEq(t, `{"apiVersion":"`+resource.APIVersion+`","kind":"snapshot","spec":{"name":"v1","memory":true,"labels":{"tier":"db"}}}`, string(data))
	var back compute.SnapshotSpec
	require.NoError(t, resource.UnmarshalSpec(data, resource.KindSnapshot, &back))
	assert.Equal(t, spec, back)
}
