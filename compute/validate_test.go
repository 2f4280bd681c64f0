package compute_test

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

func TestSpecValidateFindsAllFaultsAtOnce(t *testing.T) {
	spec := compute.Spec{
		Name: "Web", Kind: "pod", Image: "UPPER", Pull: "often",
		Process:  compute.Process{Command: []string{"", "a\x00"}, Args: []string{"\xff"}, Env: map[string]string{"": "", "A=B": "", "N\n\x00": "", "V": "\x00"}, User: ":", Dir: "srv"},
		Hostname: "-", StopSignal: "SIGNOPE", StopGrace: -1,
		Resources: compute.Resources{CPUs: math.NaN(), Memory: -1},
		RLimits:   map[string]compute.RLimit{"nofile": {Soft: 2, Hard: 1}, "a\nb": {Soft: -2}},
		Sysctls:   map[string]string{"net..x": "", "kernel.x": "\x00"},
		RootDisk:  -1,
		Mounts:    []compute.Mount{{}},
		Files:     []compute.File{{}},
		Networks:  []compute.NetworkAttachment{{}},
		DNS:       compute.DNS{Servers: []netip.Addr{{}}, Search: []string{""}, Options: []string{"a b"}, Hosts: map[string]netip.Addr{"a_b": {}}},
		Ports:     []network.Port{{}},
		Restart:   compute.RestartPolicy{Mode: "sometimes", MaxRetries: -1, Backoff: -1},
		Health:    &compute.Probe{}, Readiness: &compute.Probe{Interval: -1, TCP: "0"},
		Lifetime:  resource.Lifetime{Ephemeral: true, Until: time.Unix(1, 0)},
		Placement: compute.Placement{Zone: "a b", Hosts: resource.Select(resource.Exists("")), Near: resource.Select(resource.Exists("")), Apart: resource.Select(resource.Exists(""))},
		Security:  compute.Security{AddCapabilities: []string{"CAP_NET_ADMIN"}, DropCapabilities: []string{""}, Seccomp: "{"},
		Devices:   []compute.Device{{}},
		CloudInit: &compute.CloudInit{MetaData: "\x00", NetworkConfig: "\xff"},
		Boot:      &compute.Boot{Initrd: "initrd", CommandLine: "\x00", Firmware: "coreboot", Machine: "q 35"},
		Labels:    resource.Labels{"-": ""}, Annotations: resource.Annotations{"-": ""},
		Native: compute.Natives{nil, compute.RecordedNative{}, compute.RecordedNative{Provider: "a"}, compute.RecordedNative{Provider: "a", Version: "1"}, compute.RecordedNative{Provider: "a", Version: "2"}},
	}
	want := []string{
		"name", "kind", "image", "pull",
		"process.command[1]", "process.command[0]", "process.args[0]",
		`process.env[""]`, "process.env[A=B]", `process.env["N\n\x00"]`, "process.env[V]", "process.user", "process.dir",
		"hostname", "stopSignal", "stopGrace", "resources.cpus", "resources.memory",
		`rlimits["a\nb"]`, `rlimits["a\nb"]`, "rlimits[nofile]", "sysctls[kernel.x]", "sysctls[net..x]", "rootDisk",
		"mounts[0].path", "mounts[0].type", "files[0].path", "networks[0].network",
		"dns.servers[0]", "dns.search[0]", "dns.options[0]", "dns.hosts[a_b]", "dns.hosts[a_b]",
		"ports[0].instance", "restart.mode", "restart.maxRetries", "restart.backoff",
		"health", "readiness.tcp", "readiness.interval", "lifetime.until",
		"placement.hosts[0].key", "placement.near[0].key", "placement.apart[0].key", "placement.zone",
		"security.addCapabilities[0]", "security.dropCapabilities[0]", "security.seccomp",
		"devices[0].source", "cloudInit.metaData", "cloudInit.networkConfig",
		"boot.initrd", "boot.kernel", "boot.commandLine", "boot.firmware", "boot.machine",
		"labels[-]", "annotations[-]", "native[0]", "native[1]", "native[2]", "native[4]",
	}
	for range 5 {
		var got []string
		for _, fault := range spec.Validate() {
			got = append(got, fault.Field)
			assert.NotEmpty(t, fault.Reason)
		}
		require.Equal(t, want, got, "in the order of the fields, every time")
	}
	message := spec.Validate().Error()
	for _, c := range "\x00\n\r\x1b\x7f\xff" {
		assert.NotContains(t, message, string(c))
	}
}

// check holds one spec that has one fault, or none where the field is empty.
type check struct {
	spec  compute.Spec
	field string
}

func (c check) run(t *testing.T) {
	t.Helper()
	c.spec.Name = "web"
	faults := c.spec.Validate()
	if c.field == "" {
		assert.Empty(t, faults, "%+v", c.spec)
		return
	}
	if assert.Len(t, faults, 1, "%+v: %v", c.spec, faults) {
		assert.Equal(t, c.field, faults[0].Field)
		assert.Less(t, len(faults.Error()), 1000, "a message holds no more of the text than it needs")
	}
}

func TestProcessValidate(t *testing.T) {
	long := strings.Repeat("a", 128<<10)
	for _, c := range []struct {
		process compute.Process
		field   string
	}{
		{compute.Process{}, ""},
		{compute.Process{Command: []string{"a", ""}, Args: []string{"", "ü", "\n\t\x01"}}, ""},
		{compute.Process{Command: []string{long[1:]}}, ""},
		{compute.Process{Command: []string{long}}, "process.command[0]"},
		{compute.Process{Args: []string{"a", long}}, "process.args[1]"},
		{compute.Process{Env: map[string]string{"A": long[3:]}}, ""},
		{compute.Process{Env: map[string]string{"A": long[2:]}}, "process.env[A]"},
		{compute.Process{Args: slicesOf(long[1:], 17)}, "process.env"},
		{compute.Process{Env: map[string]string{"A": "a=b\nc", "with space": "", "0": "", "ü": "ü"}}, ""},
		{compute.Process{Dir: "/"}, ""},
		{compute.Process{Dir: "/srv/../etc"}, "process.dir"},
		{compute.Process{Dir: "C:\\"}, "process.dir"},
	} {
		check{compute.Spec{Process: c.process}, c.field}.run(t)
	}
}

func slicesOf(s string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = s
	}
	return out
}

func TestUsers(t *testing.T) {
	for _, good := range []string{
		"", "root", "0", "1000", "www-data", "_apt", "a.b", "Domain_User", "host$", "root:root", "0:0", "www:1000", "1000:www",
		"4294967294:4294967294", strings.Repeat("a", 256),
	} {
		check{compute.Spec{Process: compute.Process{User: good}}, ""}.run(t)
	}
	for _, bad := range []string{
		":", "a:", ":a", "a:b:c", "a b", "a\n", "a\x00", "-a", ".a", "a/b", "ü", "a\xff", "$a", "a:b c", "4294967295", "0:4294967295",
		"99999999999999999999999", "-1", "+1", "1a", "0x0", " ", strings.Repeat("a", 257), strings.Repeat("a", 1<<20),
	} {
		check{compute.Spec{Process: compute.Process{User: bad}}, "process.user"}.run(t)
	}
}

func TestPaths(t *testing.T) {
	deep := strings.Repeat("/"+strings.Repeat("a", 200), 20)
	for _, good := range []string{"/", "/a", "/a/b", "/a//b", "/a/./b", "/a b", "/ü", "/...", "/a/..b", "/a\nb", "/" + strings.Repeat("a", 255), deep} {
		check{compute.Spec{Process: compute.Process{Dir: good}}, ""}.run(t)
	}
	for _, bad := range []string{
		"a", "./a", "../a", "/..", "/a/..", "/a/../b", "~", "/a\x00b", "/\xff", "/" + strings.Repeat("a", 256), deep + deep, "\\a", " /a",
	} {
		check{compute.Spec{Process: compute.Process{Dir: bad}}, "process.dir"}.run(t)
	}
}

func TestResourcesValidate(t *testing.T) {
	for _, c := range []struct {
		resources compute.Resources
		field     string
	}{
		{compute.Resources{}, ""},
		{compute.Resources{CPUs: 0.01, CPUWeight: 1, CPUSet: "0", Memory: 1 << 20, MemoryReservation: 1 << 20, Swap: 1, PIDs: 1, ShmSize: 1}, ""},
		{compute.Resources{CPUs: 65536, CPUWeight: 10000, CPUSet: "0-65535", Memory: 1 << 60, PIDs: 1 << 40}, ""},
		{compute.Resources{CPUs: math.NaN()}, "cpus"},
		{compute.Resources{CPUs: math.Inf(1)}, "cpus"},
		{compute.Resources{CPUs: math.Inf(-1)}, "cpus"},
		{compute.Resources{CPUs: -0.5}, "cpus"},
		{compute.Resources{CPUs: math.SmallestNonzeroFloat64}, "cpus"},
		{compute.Resources{CPUs: 0.009}, "cpus"},
		{compute.Resources{CPUs: 65537}, "cpus"},
		{compute.Resources{CPUs: math.MaxFloat64}, "cpus"},
		{compute.Resources{CPUWeight: -1}, "cpuWeight"},
		{compute.Resources{CPUWeight: 10001}, "cpuWeight"},
		{compute.Resources{Memory: -1}, "memory"},
		{compute.Resources{Memory: 1}, "memory"},
		{compute.Resources{Memory: 1<<20 - 1}, "memory"},
		{compute.Resources{Memory: math.MaxInt64}, "memory"},
		{compute.Resources{Memory: math.MinInt64}, "memory"},
		{compute.Resources{Memory: 1 << 20, MemoryReservation: 1<<20 + 1}, "memoryReservation"},
		{compute.Resources{MemoryReservation: 1 << 30}, ""},
		{compute.Resources{MemoryReservation: -1}, "memoryReservation"},
		{compute.Resources{Swap: 1}, "swap"},
		{compute.Resources{Memory: 1 << 20, Swap: math.MaxInt64}, "swap"},
		{compute.Resources{PIDs: -1}, "pids"},
		{compute.Resources{PIDs: math.MaxInt64}, "pids"},
		{compute.Resources{ShmSize: -1}, "shmSize"},
		{compute.Resources{DiskRead: -1}, "diskRead"},
		{compute.Resources{DiskWrite: math.MaxInt64}, "diskWrite"},
		{compute.Resources{NetReceive: math.MinInt64}, "netReceive"},
		{compute.Resources{NetTransmit: -1}, "netTransmit"},
	} {
		field := c.field
		if field != "" {
			field = "resources." + field
		}
		check{compute.Spec{Resources: c.resources}, field}.run(t)
	}
}

func TestCPUSets(t *testing.T) {
	for _, good := range []string{"", "0", "0-3", "0-3,6", "6,0-3", "1,1", "0-0", "65535"} {
		check{compute.Spec{Resources: compute.Resources{CPUSet: good}}, ""}.run(t)
	}
	for _, bad := range []string{
		",", "0,", ",0", "0,,1", "-", "0-", "-0", "3-0", "0-1-2", "a", "0 ", " 0", "0:1", "65536", "+1", "0x1", "0\n", "0\x00", "٣", "all",
		"99999999999999999999",
	} {
		check{compute.Spec{Resources: compute.Resources{CPUSet: bad}}, "resources.cpuSet"}.run(t)
	}
}

func TestLimitsAndSysctls(t *testing.T) {
	for _, name := range []string{
		"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime",
		"sigpending", "stack",
	} {
		check{compute.Spec{RLimits: map[string]compute.RLimit{name: {Soft: 0, Hard: math.MaxInt64}}}, ""}.run(t)
	}
	for _, c := range []struct {
		soft, hard int64
		ok         bool
	}{{0, 0, true}, {1, 2, true}, {-1, -1, true}, {5, -1, true}, {-1, 5, false}, {2, 1, false}, {-2, 0, false}, {0, -2, false}, {math.MinInt64, -1, false}} {
		field := "rlimits[nofile]"
		if c.ok {
			field = ""
		}
		check{compute.Spec{RLimits: map[string]compute.RLimit{"nofile": {Soft: c.soft, Hard: c.hard}}}, field}.run(t)
	}
	for name, field := range map[string]string{
		"NOFILE": "rlimits[NOFILE]", "RLIMIT_NOFILE": "rlimits[RLIMIT_NOFILE]", "": `rlimits[""]`, "a\x1b": `rlimits["a\x1b"]`,
		strings.Repeat("a", 1<<20): `rlimits["` + strings.Repeat("a", 128) + `"...]`,
	} {
		check{compute.Spec{RLimits: map[string]compute.RLimit{name: {}}}, field}.run(t)
	}
	for name, field := range map[string]string{
		"net.core.somaxconn": "", "kernel.shm_rmid_forced": "", "net.ipv4.conf.eth0-1.x": "",
		"": `sysctls[""]`, ".": "sysctls[.]", "net/core": "sysctls[net/core]", "../x": "sysctls[../x]", "a b": `sysctls["a b"]`, "a.": "sysctls[a.]",
	} {
		check{compute.Spec{Sysctls: map[string]string{name: "1 2"}}, field}.run(t)
	}
}

func TestMounts(t *testing.T) {
	for _, c := range []struct {
		mounts []compute.Mount
		field  string
	}{
		{[]compute.Mount{{Type: compute.MountVolume, Source: "data", Path: "/data"}}, ""},
		{[]compute.Mount{{Type: compute.MountVolume, Source: someID, Path: "/data", SubPath: "a/b"}}, ""},
		{[]compute.Mount{{Type: compute.MountTmpfs, Path: "/a"}, {Type: compute.MountTmpfs, Path: "/a/b"}}, ""},
		{[]compute.Mount{{Path: "/a"}}, "mounts[0].type"},
		{[]compute.Mount{{Type: "nfs\n", Path: "/a"}}, "mounts[0].type"},
		{[]compute.Mount{{Type: compute.MountTmpfs}}, "mounts[0].path"},
		{[]compute.Mount{{Type: compute.MountTmpfs, Path: "/"}}, "mounts[0].path"},
		{[]compute.Mount{{Type: compute.MountTmpfs, Path: "//./"}}, "mounts[0].path"},
		{[]compute.Mount{{Type: compute.MountTmpfs, Path: "/a/../b"}}, "mounts[0].path"},
		{[]compute.Mount{{Type: compute.MountTmpfs, Path: "/a"}, {Type: compute.MountTmpfs, Path: "/a/"}}, "mounts[1].path"},
		{[]compute.Mount{{Type: compute.MountTmpfs, Path: "/a", Source: "x"}}, "mounts[0].source"},
		{[]compute.Mount{{Type: compute.MountTmpfs, Path: "/a", SubPath: "x"}}, "mounts[0].subPath"},
		{[]compute.Mount{{Type: compute.MountTmpfs, Path: "/a", Size: -1}}, "mounts[0].size"},
		{[]compute.Mount{{Type: compute.MountVolume, Path: "/a"}}, "mounts[0].source"},
		{[]compute.Mount{{Type: compute.MountVolume, Source: "/etc", Path: "/a"}}, "mounts[0].source"},
		{[]compute.Mount{{Type: compute.MountVolume, Source: "a", Path: "/a", Size: 1}}, "mounts[0].size"},
		{[]compute.Mount{{Type: compute.MountVolume, Source: "a", Path: "/a", SubPath: "/b"}}, "mounts[0].subPath"},
		{[]compute.Mount{{Type: compute.MountVolume, Source: "a", Path: "/a", SubPath: "../b"}}, "mounts[0].subPath"},
		{[]compute.Mount{{Type: compute.MountVolume, Source: "a", Path: "/a", SubPath: "b/../../c"}}, "mounts[0].subPath"},
		{[]compute.Mount{{Type: compute.MountDevice, Source: "a", Path: "/dev/a", SubPath: "b"}}, "mounts[0].subPath"},
		{[]compute.Mount{{Type: compute.MountBind, Path: "/a"}}, "mounts[0].source"},
		{[]compute.Mount{{Type: compute.MountBind, Source: "etc", Path: "/a"}}, "mounts[0].source"},
		{[]compute.Mount{{Type: compute.MountBind, Source: "/etc/../x", Path: "/a"}}, "mounts[0].source"},
		{[]compute.Mount{{Type: compute.MountBind, Source: "/", Path: "/host"}}, ""},
	} {
		check{compute.Spec{Mounts: c.mounts}, c.field}.run(t)
	}
}

func TestValidateOfManyMounts(t *testing.T) {
	mounts := make([]compute.Mount, 100_000)
	for i := range mounts {
		mounts[i] = compute.Mount{Type: compute.MountTmpfs, Path: fmt.Sprintf("/a%d", i)}
	}
	assert.Empty(t, compute.Spec{Name: "a", Mounts: mounts}.Validate())
}

func TestFiles(t *testing.T) {
	var redacted resource.Secret
	require.NoError(t, redacted.UnmarshalText([]byte("[redacted]")))
	for _, c := range []struct {
		file  compute.File
		field string
	}{
		{compute.File{Path: "/a"}, ""},
		{compute.File{Path: "/a", Data: []byte{0, 0xff}, Mode: 0o7777, UID: math.MaxInt32, GID: math.MaxInt32}, ""},
		{compute.File{Path: "/a", Secret: resource.NewSecret("x")}, ""},
		{compute.File{Path: "a"}, "files[0].path"},
		{compute.File{Path: "/"}, "files[0].path"},
		{compute.File{Path: "/etc/"}, "files[0].path"},
		{compute.File{Path: "/etc/../x"}, "files[0].path"},
		{compute.File{Path: "/a", Data: []byte("x"), Secret: resource.NewSecret("x")}, "files[0].secret"},
		{compute.File{Path: "/a", Secret: redacted}, "files[0].secret"},
		{compute.File{Path: "/a", Mode: 0o10000}, "files[0].mode"},
		{compute.File{Path: "/a", Mode: math.MaxUint32}, "files[0].mode"},
		{compute.File{Path: "/a", UID: -1}, "files[0].uid"},
		{compute.File{Path: "/a", GID: math.MinInt32}, "files[0].gid"},
		{compute.File{Path: "/a", Data: make([]byte, 16<<20)}, ""},
		{compute.File{Path: "/a", Data: make([]byte, 16<<20+1)}, "files"},
	} {
		check{compute.Spec{Files: []compute.File{c.file}}, c.field}.run(t)
	}
}

func TestHostnames(t *testing.T) {
	for name, field := range map[string]string{
		"": "", "web": "", "web.example.com": "", strings.Repeat("a", 63): "", strings.Repeat("a.", 31) + "ab": "",
		"Web": "hostname", "web_1": "hostname", "web.": "hostname", "a\x00": "hostname", strings.Repeat("a.", 32) + "b": "hostname",
	} {
		check{compute.Spec{Hostname: name}, field}.run(t)
	}
}

func TestNetworkAttachments(t *testing.T) {
	for _, c := range []struct {
		spec  compute.Spec
		field string
	}{
		{compute.Spec{NetworkMode: compute.NetworkHost}, ""},
		{compute.Spec{NetworkMode: compute.NetworkNone}, ""},
		{compute.Spec{NetworkMode: "bridge"}, "networkMode"},
		{compute.Spec{NetworkMode: compute.NetworkHost, Networks: []compute.NetworkAttachment{{Network: "a"}}}, "networks"},
		{compute.Spec{Networks: []compute.NetworkAttachment{{Network: someID}, {Network: "b"}}}, ""},
		{compute.Spec{Networks: []compute.NetworkAttachment{{Endpoint: "web"}}}, "networks[0].endpoint"},
		{compute.Spec{Networks: []compute.NetworkAttachment{{Endpoint: someID, Network: "a"}}}, "networks[0].endpoint"},
		{compute.Spec{Networks: []compute.NetworkAttachment{{Endpoint: someID, Aliases: []string{"a"}}}}, "networks[0].endpoint"},
		{compute.Spec{Networks: []compute.NetworkAttachment{{Network: "a", MAC: network.HardwareAddr{1, 2}}}}, "networks[0].mac"},
		{compute.Spec{Networks: []compute.NetworkAttachment{{Network: "a", Addresses: []netip.Addr{addr("127.0.0.1")}}}}, "networks[0].addresses[0]"},
		{compute.Spec{Networks: []compute.NetworkAttachment{{Network: "a", Aliases: []string{"a", "B"}}}}, "networks[0].aliases[1]"},
	} {
		check{c.spec, c.field}.run(t)
	}
}

func TestProbes(t *testing.T) {
	ports := []network.Port{{Name: "http", Instance: 80}, {Name: "dns", Protocol: network.UDP, Instance: 53}}
	for _, c := range []struct {
		probe compute.Probe
		field string
	}{
		{compute.Probe{Exec: []string{"true", ""}}, ""},
		{compute.Probe{TCP: "http"}, ""},
		{compute.Probe{TCP: "8080"}, ""},
		{compute.Probe{TCP: "53"}, ""},
		{compute.Probe{HTTP: &compute.HTTPProbe{Port: "http"}}, ""},
		{compute.Probe{HTTP: &compute.HTTPProbe{Port: "80", Path: "/a/../b?c=d&e=%20", HTTPS: true}}, ""},
		{compute.Probe{}, "readiness"},
		{compute.Probe{Exec: []string{"true"}, TCP: "80"}, "readiness"},
		{compute.Probe{Exec: []string{""}}, "readiness.exec[0]"},
		{compute.Probe{Exec: []string{"a", "\x00"}}, "readiness.exec[1]"},
		{compute.Probe{TCP: "https"}, "readiness.tcp"},
		{compute.Probe{TCP: "0"}, "readiness.tcp"},
		{compute.Probe{TCP: "65536"}, "readiness.tcp"},
		{compute.Probe{TCP: "dns"}, "readiness.tcp"},
		{compute.Probe{TCP: strings.Repeat("a", 1<<20)}, "readiness.tcp"},
		{compute.Probe{HTTP: &compute.HTTPProbe{}}, "readiness.http.port"},
		{compute.Probe{HTTP: &compute.HTTPProbe{Port: "80", Path: "ready"}}, "readiness.http.path"},
		{compute.Probe{HTTP: &compute.HTTPProbe{Port: "80", Path: "//host/"}}, ""},
		{compute.Probe{HTTP: &compute.HTTPProbe{Port: "80", Path: "http://host/"}}, "readiness.http.path"},
		{compute.Probe{HTTP: &compute.HTTPProbe{Port: "80", Path: "/%zz"}}, "readiness.http.path"},
		{compute.Probe{HTTP: &compute.HTTPProbe{Port: "80", Path: "/a\r\nHost: b"}}, "readiness.http.path"},
		{compute.Probe{HTTP: &compute.HTTPProbe{Port: "80", Path: "/a#b"}}, "readiness.http.path"},
		{compute.Probe{TCP: "80", Interval: -1}, "readiness.interval"},
		{compute.Probe{TCP: "80", Timeout: -1}, "readiness.timeout"},
		{compute.Probe{TCP: "80", StartPeriod: -1}, "readiness.startPeriod"},
		{compute.Probe{TCP: "80", Failures: -1}, "readiness.failures"},
	} {
		check{compute.Spec{Ports: ports, Readiness: &c.probe}, c.field}.run(t)
	}
}

func TestSecurity(t *testing.T) {
	for _, c := range []struct {
		security compute.Security
		field    string
	}{
		{compute.Security{AddCapabilities: []string{"ALL", "NET_ADMIN", "CHECKPOINT_RESTORE"}, DropCapabilities: []string{"CHOWN"}}, ""},
		{compute.Security{AddCapabilities: []string{"net_admin"}}, "security.addCapabilities[0]"},
		{compute.Security{DropCapabilities: []string{"ALL", strings.Repeat("A", 1<<20)}}, "security.dropCapabilities[1]"},
		{compute.Security{Seccomp: "unconfined"}, ""},
		{compute.Security{Seccomp: "{}"}, ""},
		{compute.Security{Seccomp: "/etc/seccomp.json"}, "security.seccomp"},
		{compute.Security{Seccomp: "{}\x00"}, "security.seccomp"},
		{compute.Security{Seccomp: `"` + strings.Repeat("a", 1<<20) + `"`}, "security.seccomp"},
	} {
		check{compute.Spec{Security: c.security}, c.field}.run(t)
	}
}

func TestDevices(t *testing.T) {
	for _, c := range []struct {
		device compute.Device
		field  string
	}{
		{compute.Device{Source: "/dev/kvm"}, ""},
		{compute.Device{Source: "/dev/kvm", Path: "/dev/x", Permissions: "rwm"}, ""},
		{compute.Device{Source: "nvidia.com/gpu=0"}, ""},
		{compute.Device{Source: "nvidia.com/gpu=all"}, ""},
		{compute.Device{Source: "nvidia.com/mig-gpu=0:1"}, ""},
		{compute.Device{Source: "vendor.com/class_a=GPU-0f8fad5b_x.y"}, ""},
		{compute.Device{}, "devices[0].source"},
		{compute.Device{Source: "dev/kvm"}, "devices[0].source"},
		{compute.Device{Source: "/dev/../kvm"}, "devices[0].source"},
		{compute.Device{Source: "class=name"}, "devices[0].source"},
		{compute.Device{Source: "vendor.com/class"}, "devices[0].source"},
		{compute.Device{Source: "vendor.com/class="}, "devices[0].source"},
		{compute.Device{Source: "vendor.com/=name"}, "devices[0].source"},
		{compute.Device{Source: "/class=name"}, ""}, // a path
		{compute.Device{Source: "1vendor/class=name"}, "devices[0].source"},
		{compute.Device{Source: "vendor/class=-name"}, "devices[0].source"},
		{compute.Device{Source: "vendor/class=na me"}, "devices[0].source"},
		{compute.Device{Source: "vendor/class=name\x00"}, "devices[0].source"},
		{compute.Device{Source: "vendor/a/b=name"}, "devices[0].source"},
		{compute.Device{Source: "vendor/class=a=b"}, "devices[0].source"},
		{compute.Device{Source: "/dev/kvm", Path: "kvm"}, "devices[0].path"},
		{compute.Device{Source: "/dev/kvm", Permissions: "rwx"}, "devices[0].permissions"},
	} {
		check{compute.Spec{Devices: []compute.Device{c.device}}, c.field}.run(t)
	}
}

func TestBootAndCloudInit(t *testing.T) {
	for _, c := range []struct {
		spec  compute.Spec
		field string
	}{
		{compute.Spec{Boot: &compute.Boot{}}, ""},
		{compute.Spec{Boot: &compute.Boot{Kernel: "/k", CommandLine: "console=ttyS0 \"a b\""}}, ""},
		{compute.Spec{Boot: &compute.Boot{Kernel: "k"}}, "boot.kernel"},
		{compute.Spec{Boot: &compute.Boot{CommandLine: "quiet"}}, "boot.kernel"},
		{compute.Spec{Boot: &compute.Boot{Kernel: "/k", CommandLine: "a\x00"}}, "boot.commandLine"},
		{compute.Spec{Boot: &compute.Boot{Machine: "pc-q35-9.0"}}, ""},
		{compute.Spec{Boot: &compute.Boot{Machine: "q35'/>"}}, "boot.machine"},
		{compute.Spec{CloudInit: &compute.CloudInit{}}, ""},
		{compute.Spec{CloudInit: &compute.CloudInit{UserData: resource.NewSecret(strings.Repeat("a", 16<<20+1))}}, "cloudInit"},
	} {
		check{c.spec, c.field}.run(t)
	}
}

func TestValidateOfOtherArguments(t *testing.T) {
	minus, bad := -time.Second, "a b"
	for name, c := range map[string]struct {
		faults resource.Faults
		want   []string
	}{
		"change": {compute.Change{}.Validate(), nil},
		"bad change": {compute.Change{
			Resources: &compute.Resources{Memory: -1}, Restart: &compute.RestartPolicy{Mode: "x"}, StopGrace: &minus,
			Labels: resource.LabelPatch{"a": &bad}, Annotations: resource.LabelPatch{"-": nil}, Apply: "soon",
		}.Validate(), []string{"resources.memory", "restart.mode", "stopGrace", "labels[a]", "annotations[-]", "apply"}},
		"stop":         {compute.StopOptions{Signal: "INT", Grace: time.Second}.Validate(), nil},
		"bad stop":     {compute.StopOptions{Signal: "NO", Grace: -1}.Validate(), []string{"grace", "signal"}},
		"filter":       {compute.Filter{}.Validate(), nil},
		"bad filter":   {compute.Filter{Selector: resource.Select(resource.Exists("-"))}.Validate(), []string{"selector[0].key"}},
		"logs":         {compute.LogOptions{Tail: 1, Streams: []compute.Stream{compute.Stdout, compute.Stderr}}.Validate(), nil},
		"bad logs":     {compute.LogOptions{Tail: -1, Streams: []compute.Stream{"x"}}.Validate(), []string{"tail", "streams[0]"}},
		"clone":        {compute.CloneOptions{Name: "a", Snapshot: "b"}.Validate(), nil},
		"bad clone":    {compute.CloneOptions{Snapshot: "B", Labels: resource.Labels{"-": ""}}.Validate(), []string{"name", "snapshot", "labels[-]"}},
		"snapshot":     {compute.SnapshotSpec{Name: "a"}.Validate(), nil},
		"bad snapshot": {compute.SnapshotSpec{Labels: resource.Labels{"-": ""}}.Validate(), []string{"name", "labels[-]"}},
		"exec":         {compute.ExecSpec{Process: compute.Process{Args: []string{"a"}, TTY: true}, Size: compute.TerminalSize{Width: 1}}.Validate(), nil},
		"bad exec": {compute.ExecSpec{Process: compute.Process{User: ":"}, Size: compute.TerminalSize{Height: 1}, Drain: -1}.Validate(),
			[]string{"process.user", "process.command", "size", "drain"}},
	} {
		var got []string
		for _, fault := range c.faults {
			got = append(got, fault.Field)
		}
		assert.Equal(t, c.want, got, name)
	}
}
