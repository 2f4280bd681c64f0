package providertest

import (
	"bytes"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	univirt "github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// malformedNames are names that nothing may have.
func malformedNames() []string {
	return []string{
		"", strings.Repeat("a", resource.MaxNameLength+1), "Web", "we b", "-web", "web-", "web_1", "web.1",
		"a\x00b", "a\nb", "a\x1bb", "../web", "/web", "we/b", "..", ".", "wéb", "вэб", "w%65b", "web;ls", "$(web)", `"web"`,
	}
}

// malformedReferences are references that no image may have.
func malformedReferences() []string {
	return []string{
		"UPPER/case", "a b", "web@sha256:12", "web:" + strings.Repeat("t", 129), "://web", "web\x00", "../web",
		strings.Repeat("a/", 600) + "a",
	}
}

// badSpec is a spec with one fault.
type badSpec struct {
	// says what is wrong, for the case's name.
	says  string
	field string
	spoil func(*compute.Spec)
}

func badSpecs() []badSpec {
	var bad []badSpec
	add := func(says, field string, spoil func(*compute.Spec)) { bad = append(bad, badSpec{says, field, spoil}) }
	for _, name := range malformedNames() {
		add(fmt.Sprintf("the name %.20q", name), "name", func(s *compute.Spec) { s.Name = name })
	}
	add("an unknown kind", "kind", func(s *compute.Spec) { s.Kind = "jail" })
	for _, image := range malformedReferences() {
		add(fmt.Sprintf("the image reference %.20q", image), "image", func(s *compute.Spec) { s.Image = image })
	}
	add("an unknown pull policy", "pull", func(s *compute.Spec) { s.Pull = "sometimes" })
	add("an empty command", "process.command[0]", func(s *compute.Spec) { s.Process.Command = []string{""} })
	add("a command with NUL", "process.command[1]", func(s *compute.Spec) { s.Process.Command = []string{GuestPath, "a\x00b"} })
	add("an argument with NUL", "process.args[0]", func(s *compute.Spec) { s.Process.Args = []string{"a\x00b"} })
	add("a variable with an empty name", `process.env[""]`, func(s *compute.Spec) { s.Process.Env = map[string]string{"": "x"} })
	add("a variable with = in its name", "process.env[A=B]", func(s *compute.Spec) { s.Process.Env = map[string]string{"A=B": "x"} })
	add("a variable with NUL in its value", "process.env[A]", func(s *compute.Spec) { s.Process.Env = map[string]string{"A": "x\x00y"} })
	add("a variable of 3 MiB", "process.env[A]", func(s *compute.Spec) { s.Process.Env = map[string]string{"A": strings.Repeat("x", 3<<20)} })
	add("an environment of 3 MiB", "process.env", func(s *compute.Spec) {
		s.Process.Env = map[string]string{}
		for i := range 30 {
			s.Process.Env[fmt.Sprint("A", i)] = strings.Repeat("x", 100<<10)
		}
	})
	for _, user := range []string{":", "us er", "user:", "-1", "4294967295", "user:group:more", "a/b", "us\x00er"} {
		add(fmt.Sprintf("the user %q", user), "process.user", func(s *compute.Spec) { s.Process.User = user })
	}
	add("a relative working directory", "process.dir", func(s *compute.Spec) { s.Process.Dir = "tmp" })
	add("a host name with a space", "hostname", func(s *compute.Spec) { s.Hostname = "a b" })
	add("a host name of 65 bytes", "hostname", func(s *compute.Spec) { s.Hostname = strings.Repeat("a", 60) + ".abcd" })
	add("an unknown stop signal", "stopSignal", func(s *compute.Spec) { s.StopSignal = "SIGNOTHING" })
	add("a negative grace", "stopGrace", func(s *compute.Spec) { s.StopGrace = -time.Second })
	for says, cpus := range map[string]float64{"minus one": -1, "NaN": math.NaN(), "infinitely many": math.Inf(1), "a million": 1e6, "a millionth": 1e-6} {
		add(says+" of a CPU", "resources.cpus", func(s *compute.Spec) { s.Resources.CPUs = cpus })
	}
	add("a CPU weight of 20000", "resources.cpuWeight", func(s *compute.Spec) { s.Resources.CPUWeight = 20000 })
	add("a malformed CPU set", "resources.cpuSet", func(s *compute.Spec) { s.Resources.CPUSet = "3-1" })
	for says, memory := range map[string]int64{"minus one byte": -1, "one byte": 1, "eight exabytes": math.MaxInt64} {
		add(says+" of memory", "resources.memory", func(s *compute.Spec) { s.Resources.Memory = memory })
	}
	add("a reservation above the memory", "resources.memoryReservation", func(s *compute.Spec) {
		s.Resources.Memory, s.Resources.MemoryReservation = 64*resource.MiB, 65*resource.MiB
	})
	add("swap without memory", "resources.swap", func(s *compute.Spec) { s.Resources = compute.Resources{Swap: resource.GiB} })
	for field, spoil := range map[string]func(*compute.Resources){
		"pids":        func(r *compute.Resources) { r.PIDs = -1 },
		"shmSize":     func(r *compute.Resources) { r.ShmSize = -1 },
		"diskRead":    func(r *compute.Resources) { r.DiskRead = -1 },
		"diskWrite":   func(r *compute.Resources) { r.DiskWrite = -1 },
		"netReceive":  func(r *compute.Resources) { r.NetReceive = -1 },
		"netTransmit": func(r *compute.Resources) { r.NetTransmit = -1 },
	} {
		add("negative "+field, "resources."+field, func(s *compute.Spec) { spoil(&s.Resources) })
	}
	add("an unknown limit", "rlimits[everything]", func(s *compute.Spec) { s.RLimits = map[string]compute.RLimit{"everything": {}} })
	add("a soft limit above the hard one", "rlimits[nofile]", func(s *compute.Spec) { s.RLimits = map[string]compute.RLimit{"nofile": {Soft: 2, Hard: 1}} })
	add("a malformed kernel parameter", "sysctls[net/../core]", func(s *compute.Spec) { s.Sysctls = map[string]string{"net/../core": "1"} })
	add("a negative root disk", "rootDisk", func(s *compute.Spec) { s.RootDisk = -1 })
	bad = append(append(bad, badMounts()...), badRest()...)
	slices.SortStableFunc(bad, func(a, b badSpec) int { return strings.Compare(a.field, b.field) })
	return bad
}

func badMounts() []badSpec {
	mount := func(m compute.Mount) func(*compute.Spec) {
		return func(s *compute.Spec) { s.Mounts = []compute.Mount{m} }
	}
	return []badSpec{
		{"a mount of an unknown type", "mounts[0].type", mount(compute.Mount{Type: "web", Path: "/data"})},
		{"a mount at a relative path", "mounts[0].path", mount(compute.Mount{Type: compute.MountTmpfs, Path: "data"})},
		{"a mount at the root", "mounts[0].path", mount(compute.Mount{Type: compute.MountTmpfs, Path: "/"})},
		{"two mounts at one path", "mounts[1].path", func(s *compute.Spec) {
			m := compute.Mount{Type: compute.MountTmpfs, Path: "/data"}
			s.Mounts = []compute.Mount{m, m}
		}},
		{"a tmpfs with a source", "mounts[0].source", mount(compute.Mount{Type: compute.MountTmpfs, Source: "data", Path: "/data"})},
		{"a tmpfs of negative size", "mounts[0].size", mount(compute.Mount{Type: compute.MountTmpfs, Path: "/data", Size: -1})},
		{"a volume with a malformed name", "mounts[0].source", mount(compute.Mount{Type: compute.MountVolume, Source: "../data", Path: "/data"})},
		{"a host directory with a relative path", "mounts[0].source", mount(compute.Mount{Type: compute.MountBind, Source: "data", Path: "/data"})},
		{"a sub path that leaves its source", "mounts[0].subPath", mount(compute.Mount{Type: compute.MountVolume, Source: "data", SubPath: "../x", Path: "/data"})},
		{"a file at a relative path", "files[0].path", func(s *compute.Spec) { s.Files = []compute.File{{Path: "x"}} }},
		{"a file with an impossible mode", "files[0].mode", func(s *compute.Spec) { s.Files = []compute.File{{Path: "/x", Mode: 0o10000}} }},
		{"a file with data and a secret", "files[0].secret", func(s *compute.Spec) {
			s.Files = []compute.File{{Path: "/x", Data: []byte("x"), Secret: resource.NewSecret("x")}}
		}},
	}
}

func badRest() []badSpec {
	labels := func(key, value string) func(*compute.Spec) {
		return func(s *compute.Spec) { s.Labels = resource.Labels{key: value} }
	}
	return []badSpec{
		{"an unknown network mode", "networkMode", func(s *compute.Spec) { s.NetworkMode = "all" }},
		{"networks besides no network", "networks", func(s *compute.Spec) {
			s.NetworkMode, s.Networks = compute.NetworkNone, []compute.NetworkAttachment{{Network: "lan"}}
		}},
		{"a network with a malformed name", "networks[0].network", func(s *compute.Spec) { s.Networks = []compute.NetworkAttachment{{Network: "a/b"}} }},
		{"a multicast MAC", "networks[0].mac", func(s *compute.Spec) {
			s.Networks = []compute.NetworkAttachment{{Network: "lan", MAC: network.HardwareAddr{1, 0, 0, 0, 0, 1}}}
		}},
		{"a name server that is no host", "dns.servers[0]", func(s *compute.Spec) { s.DNS.Servers = []netip.Addr{netip.IPv4Unspecified()} }},
		{"port 0", "ports[0].instance", func(s *compute.Spec) { s.Ports = []network.Port{{}} }},
		{"two ports of one name", "ports[1].name", func(s *compute.Spec) {
			s.Ports = []network.Port{{Name: "http", Instance: 80}, {Name: "http", Instance: 81}}
		}},
		{"a host port that is not published", "ports[0].host", func(s *compute.Spec) { s.Ports = []network.Port{{Instance: 80, Host: 80}} }},
		{"an unknown restart mode", "restart.mode", func(s *compute.Spec) { s.Restart.Mode = "often" }},
		{"a negative number of retries", "restart.maxRetries", func(s *compute.Spec) { s.Restart.MaxRetries = -1 }},
		{"a health check that checks nothing", "health", func(s *compute.Spec) { s.Health = &compute.Probe{} }},
		{"a probe of an unknown port", "readiness.tcp", func(s *compute.Spec) { s.Readiness = &compute.Probe{TCP: "http"} }},
		{"a lifetime that is ephemeral and timed", "lifetime.until", func(s *compute.Spec) {
			s.Lifetime = resource.Lifetime{Ephemeral: true, Until: time.Unix(1, 0)}
		}},
		{"an unknown capability", "security.addCapabilities[0]", func(s *compute.Spec) { s.Security.AddCapabilities = []string{"EVERYTHING"} }},
		{"a zone that is no label", "placement.zone", func(s *compute.Spec) { s.Placement.Zone = "a b" }},
		{"a malformed selector of hosts", "placement.hosts[0].key", func(s *compute.Spec) {
			s.Placement.Hosts = resource.Select(resource.Requirement{Key: "a b", Operator: resource.OpExists})
		}},
		{"a device that is no path", "devices[0].source", func(s *compute.Spec) { s.Devices = []compute.Device{{Source: "kvm"}} }},
		{"a kernel command line without a kernel", "boot.kernel", func(s *compute.Spec) { s.Boot = &compute.Boot{CommandLine: "quiet"} }},
		{"a label with a space in its value", "labels[tier]", labels("tier", "a b")},
		{"a label with a value of 64 bytes", "labels[tier]", labels("tier", strings.Repeat("a", 64))},
		{"a label with a malformed key", `labels["a b"]`, labels("a b", "x")},
		{"a label with an empty key", `labels[""]`, labels("", "x")},
		{"a label with non-ASCII text", "labels[tier]", labels("tier", "wéb")},
		{"a label that is reserved", "labels[univirt.io/owner]", labels("univirt.io/owner", "me")},
		{"an annotation with NUL", "annotations[note]", func(s *compute.Spec) { s.Annotations = resource.Annotations{"note": "\x00"} }},
		{"annotations of 300 KiB", "annotations", func(s *compute.Spec) { s.Annotations = resource.Annotations{"note": strings.Repeat("x", 300<<10)} }},
	}
}

func badInputCases() []testCase {
	var cases []testCase
	for _, b := range badSpecs() {
		cases = append(cases, testCase{
			name: fmt.Sprintf("Create with %s is InvalidArgument and names %s", b.says, b.field),
			run:  func(e *env) { b.refused(e) },
		})
	}
	for _, b := range badCalls() {
		cases = append(cases, testCase{b.op + " reports all faults of its options and does nothing", b.needs, b.refused})
	}
	return append(cases,
		testCase{"Create with a fraction of a CPU is for containers, and InvalidArgument for a virtual machine", wishes("resources.cpus"), createFraction},
		testCase{"Update to a fraction of a CPU is for containers, and InvalidArgument for a virtual machine", changes("resources.cpus"), updateFraction},
		testCase{"Create reports all faults at once", nil, allFaults},
		testCase{"Faults of a spec come before fields that are not supported", nil, faultsFirst},
	)
}

func (b badSpec) refused(e *env) {
	spec := e.spec("web", "sleep", "1h")
	b.spoil(&spec)
	_, err := e.instances().Create(e.ctx, spec)
	re := e.failsField(err, errdefs.ErrInvalidArgument, b.field)
	require.Equal(e, "create", re.Op)
	require.Equal(e, spec.Validate(), resource.FaultsOf(err), "the faults in the error are those of Validate")
	require.Less(e, len(err.Error()), 4096, "the length of the message")
	require.False(e, strings.ContainsAny(err.Error(), "\x00\x1b"), "the message has control characters: %q", err)
	require.Empty(e, e.names(e.instances(), compute.Filter{}), "what was created")
}

// fraction is a number of CPUs that only a container may have.
const fraction = 1.5

func createFraction(e *env) {
	spec := e.spec("web", "sleep", "1h")
	spec.Resources.CPUs = fraction
	inst, err := e.instances().Create(e.ctx, spec)
	if e.s.kind() == compute.VM {
		re := e.failsField(err, errdefs.ErrInvalidArgument, "resources.cpus")
		require.Equal(e, "create", re.Op)
		require.Len(e, resource.FaultsOf(err), 1)
		require.Empty(e, e.names(e.instances(), compute.Filter{}), "what was created")
		return
	}
	require.NoError(e, err)
	require.Equal(e, fraction, e.info(inst).Spec.Resources.CPUs)
}

func updateFraction(e *env) {
	inst := e.stopped("web")
	before := e.info(inst)
	err := inst.Update(e.ctx, compute.Change{
		Labels: labelsOf("tier", "web"), Resources: &compute.Resources{CPUs: fraction},
	})
	if e.s.kind() == compute.VM {
		re := e.failsField(err, errdefs.ErrInvalidArgument, "resources.cpus")
		require.Equal(e, "update", re.Op)
		require.Equal(e, before, e.info(inst), "a refused change changes nothing")
		return
	}
	require.NoError(e, err)
	require.Equal(e, fraction, e.info(inst).Spec.Resources.CPUs)
}

func allFaults(e *env) {
	spec := e.spec("Web", "sleep", "1h")
	spec.Resources.Memory = -1
	spec.StopGrace = -1
	spec.Labels = resource.Labels{"a b": "x"}
	_, err := e.instances().Create(e.ctx, spec)
	e.failsField(err, errdefs.ErrInvalidArgument, "name")
	faults := resource.FaultsOf(err)
	require.Len(e, faults, 4, "%v", faults)
}

func faultsFirst(e *env) {
	spec := e.spec("Web", "sleep", "1h")
	// One is for virtual machines and the other for containers.
	spec.Boot = &compute.Boot{Kernel: "/boot/vmlinuz"}
	spec.Security.UserNamespace = true
	_, err := e.instances().Create(e.ctx, spec)
	e.failsField(err, errdefs.ErrInvalidArgument, "name")
}

// badCall is a call, of something else than an instance, with options at fault.
type badCall struct {
	op    string
	needs []need
	// fields are those at fault, in their order.
	fields []string
	do     func(e *env) error
}

func badCalls() []badCall {
	platform := compute.Platform{OS: "li nux", Architecture: "a/b", Variant: "\x00"}
	platformFields := []string{"platform.os", "platform.architecture", "platform.variant"}
	transfer := storage.TransferOptions{Format: "zip", Size: -1}
	return []badCall{
		{"Pull", hasImages(compute.FeaturePull),
			append(slices.Clone(platformFields), `mirrors["a b"]`, "mirrors[docker.io][1]", "plainHTTP[0]"),
			func(e *env) error {
				_, err := e.p.Images().Pull(e.ctx, "localhost:1/app:v1", compute.PullOptions{
					Platform: platform, PlainHTTP: []string{"a/b"},
					Mirrors: map[string][]string{"docker.io": {"localhost:1", "http://x"}, "a b": nil},
				})
				return err
			}},
		{"Import", hasImages(compute.FeatureImport),
			append([]string{"reader", "format", "size", "name"}, platformFields...),
			func(e *env) error {
				_, err := e.p.Images().Import(e.ctx, compute.ImageSource{Format: "zip", Size: -1},
					compute.ImportOptions{Name: "App", Platform: platform})
				return err
			}},
		{"Import under a name with a digest", hasImages(compute.FeatureImport), []string{"name"},
			func(e *env) error {
				source := compute.ImageSource{Reader: strings.NewReader("x"), Format: compute.OCIArchive}
				_, err := e.p.Images().Import(e.ctx, source, compute.ImportOptions{Name: "app@sha256:" + strings.Repeat("a", 64)})
				return err
			}},
		{"Export", hasImages(compute.FeatureExport),
			append([]string{"format"}, platformFields...),
			func(e *env) error {
				var out bytes.Buffer
				err := e.p.Images().Export(e.ctx, &out, []string{e.s.h.Image}, compute.ExportOptions{Format: "zip", Platform: platform})
				require.Zero(e, out.Len(), "the number of bytes written")
				return err
			}},
		{"Export of a volume", hasVolumes(storage.FeatureTransfer), []string{"format", "size"},
			func(e *env) error {
				var out bytes.Buffer
				err := storage.Export(e.ctx, e.volume(storage.Spec{Name: "data"}), &out, transfer)
				require.Zero(e, out.Len(), "the number of bytes written")
				return err
			}},
		{"Import of a volume", hasVolumes(storage.FeatureTransfer), []string{"format", "size"},
			func(e *env) error {
				return storage.Import(e.ctx, e.volume(storage.Spec{Name: "data"}), strings.NewReader("x"), transfer)
			}},
		{"Sweep", canSweep(), []string{"owner"},
			func(e *env) error {
				report, err := univirt.Sweep(e.ctx, e.p, univirt.SweepOptions{Owner: "a b", All: true})
				require.Empty(e, report)
				return err
			}},
	}
}

func (b badCall) refused(e *env) {
	re := e.failsField(b.do(e), errdefs.ErrInvalidArgument, b.fields[0])
	var fields []string
	for _, fault := range resource.FaultsOf(re) {
		fields = append(fields, fault.Field)
	}
	require.Equal(e, b.fields, fields, "the fields at fault in: %v", re)
	require.False(e, strings.ContainsAny(re.Error(), "\x00\x1b"), "the message has control characters: %q", re)
	if e.s.h.Image != "" {
		e.onlyTestImage()
	}
}
