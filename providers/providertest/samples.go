package providertest

import (
	"cmp"
	"net/netip"
	"strings"
	"time"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// attachment is an attachment to a network that does not exist.
func attachment() []compute.NetworkAttachment {
	return []compute.NetworkAttachment{{Network: "none-such"}}
}

// boot changes how an instance boots, and keeps what the harness needs of that.
func boot(change func(*compute.Boot)) func(*compute.Spec) {
	return func(s *compute.Spec) {
		var b compute.Boot
		if s.Boot != nil {
			b = *s.Boot
		}
		change(&b)
		s.Boot = &b
	}
}

// samples sets each field of a spec to a right value, and with it what it makes
// no sense without. A test holds that no field is missing.
var samples = withProbes(map[string]func(*compute.Spec){
	"name":            func(*compute.Spec) {},
	"kind":            func(*compute.Spec) {},
	"image":           func(s *compute.Spec) { s.Image = cmp.Or(s.Image, "docker.io/library/none-such:1") },
	"pull":            func(s *compute.Spec) { s.Pull = compute.PullNever },
	"process.command": func(s *compute.Spec) { s.Process.Command = []string{GuestPath, "sleep", "1h"} },
	"process.args":    func(s *compute.Spec) { s.Process.Args = []string{"x"} },
	"process.env":     func(s *compute.Spec) { s.Process.Env = map[string]string{"A": "x"} },
	"process.user":    func(s *compute.Spec) { s.Process.User = "0:0" },
	"process.dir":     func(s *compute.Spec) { s.Process.Dir = "/bin" },
	"process.tty":     func(s *compute.Spec) { s.Process.TTY = true },
	"process.stdin":   func(s *compute.Spec) { s.Process.Stdin = true },
	"hostname":        func(s *compute.Spec) { s.Hostname = "host.example" },
	"stopSignal":      func(s *compute.Spec) { s.StopSignal = "SIGINT" },
	"stopGrace":       func(s *compute.Spec) { s.StopGrace = time.Second },
	"init":            func(s *compute.Spec) { s.Init = true },

	"resources.cpus":      func(s *compute.Spec) { s.Resources.CPUs = 2 },
	"resources.cpuWeight": func(s *compute.Spec) { s.Resources.CPUWeight = 50 },
	"resources.cpuSet":    func(s *compute.Spec) { s.Resources.CPUSet = "0" },
	"resources.memory":    func(s *compute.Spec) { s.Resources.Memory = smallMemory },
	"resources.memoryReservation": func(s *compute.Spec) {
		s.Resources.Memory, s.Resources.MemoryReservation = largeMemory, smallMemory
	},
	"resources.swap":        func(s *compute.Spec) { s.Resources.Memory, s.Resources.Swap = smallMemory, resource.MiB },
	"resources.pids":        func(s *compute.Spec) { s.Resources.PIDs = 100 },
	"resources.shmSize":     func(s *compute.Spec) { s.Resources.ShmSize = resource.MiB },
	"resources.diskRead":    func(s *compute.Spec) { s.Resources.DiskRead = resource.GiB },
	"resources.diskWrite":   func(s *compute.Spec) { s.Resources.DiskWrite = resource.GiB },
	"resources.netReceive":  func(s *compute.Spec) { s.Resources.NetReceive = resource.GiB },
	"resources.netTransmit": func(s *compute.Spec) { s.Resources.NetTransmit = resource.GiB },

	"rlimits":  func(s *compute.Spec) { s.RLimits = map[string]compute.RLimit{"nofile": {Soft: 100, Hard: 200}} },
	"sysctls":  func(s *compute.Spec) { s.Sysctls = map[string]string{"net.ipv4.ip_unprivileged_port_start": "0"} },
	"rootDisk": func(s *compute.Spec) { s.RootDisk = resource.GiB },

	"mounts[].type":     mounts(compute.Mount{Type: compute.MountTmpfs, Path: "/scratch"}),
	"mounts[].source":   mounts(compute.Mount{Type: compute.MountVolume, Source: "none-such", Path: "/scratch"}),
	"mounts[].subPath":  mounts(compute.Mount{Type: compute.MountVolume, Source: "none-such", SubPath: "x", Path: "/scratch"}),
	"mounts[].path":     mounts(compute.Mount{Type: compute.MountTmpfs, Path: "/scratch"}),
	"mounts[].readOnly": mounts(compute.Mount{Type: compute.MountTmpfs, Path: "/scratch", ReadOnly: true}),
	"mounts[].size":     mounts(compute.Mount{Type: compute.MountTmpfs, Path: "/scratch", Size: resource.MiB}),

	"files[].path":   files(compute.File{Path: "/etc/sample", Data: []byte("x")}),
	"files[].data":   files(compute.File{Path: "/etc/sample", Data: []byte("x")}),
	"files[].secret": files(compute.File{Path: "/etc/sample", Secret: resource.NewSecret("hidden")}),
	"files[].mode":   files(compute.File{Path: "/etc/sample", Data: []byte("x"), Mode: 0o600}),
	"files[].uid":    files(compute.File{Path: "/etc/sample", Data: []byte("x"), UID: GuestUserID}),
	"files[].gid":    files(compute.File{Path: "/etc/sample", Data: []byte("x"), GID: GuestUserID}),

	"networks[].network": func(s *compute.Spec) { s.Networks = attachment() },
	"networks[].endpoint": func(s *compute.Spec) {
		s.Networks = []compute.NetworkAttachment{{Endpoint: absentID}}
	},
	"networks[].mac": func(s *compute.Spec) {
		s.Networks = attachment()
		s.Networks[0].MAC = network.HardwareAddr{2, 0, 0, 0, 0, 1}
	},
	"networks[].addresses": func(s *compute.Spec) {
		s.Networks = attachment()
		s.Networks[0].Addresses = []netip.Addr{netip.MustParseAddr("10.1.2.3")}
	},
	"networks[].aliases": func(s *compute.Spec) {
		s.Networks = attachment()
		s.Networks[0].Aliases = []string{"alias"}
	},
	"networkMode": func(s *compute.Spec) { s.NetworkMode = compute.NetworkNone },
	"dns.servers": func(s *compute.Spec) { s.DNS.Servers = []netip.Addr{netip.MustParseAddr("10.1.2.3")} },
	"dns.search":  func(s *compute.Spec) { s.DNS.Search = []string{"example.com"} },
	"dns.options": func(s *compute.Spec) { s.DNS.Options = []string{"ndots:2"} },
	"dns.hosts": func(s *compute.Spec) {
		s.DNS.Hosts = map[string]netip.Addr{"db.example": netip.MustParseAddr("10.1.2.3")}
	},
	"ports[].name":     ports(network.Port{Name: "http", Instance: 80}),
	"ports[].protocol": ports(network.Port{Protocol: network.TCP, Instance: 80}),
	"ports[].instance": ports(network.Port{Instance: 80}),
	"ports[].publish":  ports(network.Port{Instance: 80, Publish: true}),
	"ports[].hostIP":   ports(network.Port{Instance: 80, Publish: true, HostIP: netip.MustParseAddr("127.0.0.1")}),
	"ports[].host":     ports(network.Port{Instance: 80, Publish: true, Host: 54321}),

	"restart.mode": func(s *compute.Spec) { s.Restart.Mode = compute.RestartOnFailure },
	"restart.maxRetries": func(s *compute.Spec) {
		s.Restart = compute.RestartPolicy{Mode: compute.RestartOnFailure, MaxRetries: 3}
	},
	"restart.backoff": func(s *compute.Spec) {
		s.Restart = compute.RestartPolicy{Mode: compute.RestartOnFailure, Backoff: time.Second}
	},
	"lifetime.ephemeral": func(s *compute.Spec) { s.Lifetime = resource.Ephemeral },
	"lifetime.until":     func(s *compute.Spec) { s.Lifetime = resource.Until(time.Now().Add(time.Hour).Round(time.Second).UTC()) },

	"placement.zone":     func(s *compute.Spec) { s.Placement.Zone = "a" },
	"placement.hosts":    func(s *compute.Spec) { s.Placement.Hosts = resource.Select(resource.Exists("fast")) },
	"placement.near":     func(s *compute.Spec) { s.Placement.Near = resource.Select(resource.Exists("tier")) },
	"placement.apart":    func(s *compute.Spec) { s.Placement.Apart = resource.Select(resource.Exists("tier")) },
	"placement.required": func(s *compute.Spec) { s.Placement.Required = true },

	"security.privileged":               func(s *compute.Spec) { s.Security.Privileged = true },
	"security.addCapabilities":          func(s *compute.Spec) { s.Security.AddCapabilities = []string{"NET_ADMIN"} },
	"security.dropCapabilities":         func(s *compute.Spec) { s.Security.DropCapabilities = []string{"ALL"} },
	"security.seccomp":                  func(s *compute.Spec) { s.Security.Seccomp = "unconfined" },
	"security.readOnlyRoot":             func(s *compute.Spec) { s.Security.ReadOnlyRoot = true },
	"security.allowPrivilegeEscalation": func(s *compute.Spec) { s.Security.AllowPrivilegeEscalation = true },
	"security.userNamespace":            func(s *compute.Spec) { s.Security.UserNamespace = true },

	"devices[].source":      devices(compute.Device{Source: "/dev/null"}),
	"devices[].path":        devices(compute.Device{Source: "/dev/null", Path: "/dev/nothing"}),
	"devices[].permissions": devices(compute.Device{Source: "/dev/null", Permissions: "r"}),

	"cloudInit.userData":      func(s *compute.Spec) { s.CloudInit = &compute.CloudInit{UserData: resource.NewSecret("#cloud-config")} },
	"cloudInit.metaData":      func(s *compute.Spec) { s.CloudInit = &compute.CloudInit{MetaData: "{}"} },
	"cloudInit.networkConfig": func(s *compute.Spec) { s.CloudInit = &compute.CloudInit{NetworkConfig: "{}"} },
	"boot.kernel":             boot(func(b *compute.Boot) { b.Kernel = "/boot/none-such" }),
	"boot.initrd":             boot(func(b *compute.Boot) { b.Kernel, b.Initrd = "/boot/none-such", "/boot/none-such" }),
	"boot.commandLine":        boot(func(b *compute.Boot) { b.Kernel, b.CommandLine = "/boot/none-such", "quiet" }),
	"boot.firmware":           boot(func(b *compute.Boot) { b.Firmware = compute.FirmwareUEFI }),
	"boot.machine":            boot(func(b *compute.Boot) { b.Machine = "q35" }),

	"labels":      func(s *compute.Spec) { s.Labels = resource.Labels{"tier": "web"} },
	"annotations": func(s *compute.Spec) { s.Annotations = resource.Annotations{"note": "text"} },
	"native": func(s *compute.Spec) {
		s.Native = compute.Natives{compute.RecordedNative{Provider: "elsewhere", Version: "1"}}
	},
})

func mounts(m compute.Mount) func(*compute.Spec) {
	return func(s *compute.Spec) { s.Mounts = []compute.Mount{m} }
}

func files(f compute.File) func(*compute.Spec) {
	return func(s *compute.Spec) { s.Files = []compute.File{f} }
}

func ports(p network.Port) func(*compute.Spec) {
	return func(s *compute.Spec) { s.Ports = []network.Port{p} }
}

func devices(d compute.Device) func(*compute.Spec) {
	return func(s *compute.Spec) { s.Devices = []compute.Device{d} }
}

// withProbes adds the fields of the two probes.
func withProbes(samples map[string]func(*compute.Spec)) map[string]func(*compute.Spec) {
	for _, p := range []struct {
		prefix string
		set    func(*compute.Spec, *compute.Probe)
	}{
		{"health", func(s *compute.Spec, probe *compute.Probe) { s.Health = probe }},
		{"readiness", func(s *compute.Spec, probe *compute.Probe) { s.Readiness = probe }},
	} {
		for path, change := range probeSamples {
			samples[p.prefix+"."+path] = func(s *compute.Spec) {
				probe := &compute.Probe{Exec: []string{GuestPath, "exit", "0"}}
				change(probe)
				p.set(s, probe)
			}
		}
	}
	return samples
}

var probeSamples = map[string]func(*compute.Probe){
	"exec":        func(*compute.Probe) {},
	"tcp":         func(p *compute.Probe) { p.Exec, p.TCP = nil, "80" },
	"http.port":   func(p *compute.Probe) { p.Exec, p.HTTP = nil, &compute.HTTPProbe{Port: "80"} },
	"http.path":   func(p *compute.Probe) { p.Exec, p.HTTP = nil, &compute.HTTPProbe{Port: "80", Path: "/x"} },
	"http.https":  func(p *compute.Probe) { p.Exec, p.HTTP = nil, &compute.HTTPProbe{Port: "80", HTTPS: true} },
	"interval":    func(p *compute.Probe) { p.Interval = time.Second },
	"timeout":     func(p *compute.Probe) { p.Timeout = time.Second },
	"startPeriod": func(p *compute.Probe) { p.StartPeriod = time.Second },
	"failures":    func(p *compute.Probe) { p.Failures = 2 },
}

// changeSamples does for a change what samples does for a spec.
var changeSamples = func() map[string]func(*compute.Change) {
	changes := map[string]func(*compute.Change){
		"labels":      func(c *compute.Change) { c.Labels = labelsOf("tier", "web") },
		"annotations": func(c *compute.Change) { c.Annotations = labelsOf("note", "free text") },
		"stopGrace":   func(c *compute.Change) { c.StopGrace = new(time.Second) },
	}
	for path, set := range samples {
		resources := strings.HasPrefix(path, "resources.")
		if !resources && !strings.HasPrefix(path, "restart.") {
			continue
		}
		changes[path] = func(c *compute.Change) {
			var spec compute.Spec
			set(&spec)
			if resources {
				c.Resources = &spec.Resources
			} else {
				c.Restart = &spec.Restart
			}
		}
	}
	return changes
}()
