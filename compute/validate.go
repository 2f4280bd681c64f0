package compute

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

const (
	// maxCPUs, maxBytes and maxCount are far beyond any machine: a larger number
	// is a mistake, and must not overflow a backend's type.
	maxCPUs  = 1 << 16
	maxBytes = 1 << 60
	maxCount = 1 << 40
	// minMemory is below what any program needs; 0 is no bound.
	minMemory = 1 << 20
	// maxID is the largest user or group ID of Linux but one; the largest means
	// "none".
	maxID int64 = 1<<32 - 2
	// maxText bounds the command with its environment as Linux does a stack's
	// quarter, maxString each text of them as MAX_ARG_STRLEN of execve(2) does,
	// and maxFiles what is put into the root filesystem.
	maxText   = 2 << 20
	maxString = 128<<10 - 1
	maxFiles  = 16 << 20
	// maxProfile bounds a seccomp profile.
	maxProfile = 1 << 20
)

// Validate reports every fault of the spec, each with its field's path. It
// knows nothing of a provider: what one does not support it refuses itself.
func (s Spec) Validate() resource.Faults {
	var f resource.Faults
	f.AddReason("name", resource.CheckName(s.Name))
	switch s.Kind {
	case "", VM, Container:
	default:
		f.Add("kind", "must be %q or %q", VM, Container)
	}
	if s.Image != "" {
		f.AddReason("image", CheckImageReference(s.Image))
	}
	switch s.Pull {
	case "", PullIfMissing, PullAlways, PullNever:
	default:
		f.Add("pull", "must be %q, %q or %q", PullIfMissing, PullAlways, PullNever)
	}
	f.Under("process", s.Process.Validate())
	if s.Hostname != "" {
		f.AddReason("hostname", network.CheckDomain(s.Hostname))
		if len(s.Hostname) > 64 {
			f.Add("hostname", "must have at most 64 bytes")
		}
	}
	f.AddReason("stopSignal", checkSignal(s.StopSignal))
	f.AddReason("stopGrace", checkDuration(s.StopGrace))
	f.Under("resources", s.Resources.Validate())
	for _, name := range sortedKeys(s.RLimits) {
		l := s.RLimits[name]
		field := resource.MapField("rlimits", name)
		if !slices.Contains(rlimitNames, name) {
			f.Add(field, "is not known; known are %s", strings.Join(rlimitNames, ", "))
		}
		if l.Soft < -1 || l.Hard < -1 {
			f.Add(field, "must be -1 or more")
		} else if l.Hard != -1 && (l.Soft == -1 || l.Soft > l.Hard) {
			f.Add(field, "soft must not be above hard")
		}
	}
	for _, name := range sortedKeys(s.Sysctls) {
		f.AddReason(resource.MapField("sysctls", name), checkSysctl(name, s.Sysctls[name]))
	}
	f.AddReason("rootDisk", checkRange(s.RootDisk, 0, maxBytes))
	s.validateMounts(&f)
	s.validateFiles(&f)
	s.validateNetworks(&f)
	f.Under("ports", network.ValidatePorts(s.Ports))
	f.Under("restart", s.Restart.Validate())
	if s.Health != nil {
		f.Under("health", s.Health.Validate(s.Ports))
	}
	if s.Readiness != nil {
		f.Under("readiness", s.Readiness.Validate(s.Ports))
	}
	f.Under("lifetime", s.Lifetime.Validate())
	f.Under("placement.hosts", s.Placement.Hosts.Validate())
	f.Under("placement.near", s.Placement.Near.Validate())
	f.Under("placement.apart", s.Placement.Apart.Validate())
	f.AddReason("placement.zone", resource.CheckLabelValue(s.Placement.Zone))
	f.Under("security", s.Security.Validate())
	for i, d := range s.Devices {
		f.Under(at("devices", i), d.Validate())
	}
	if s.CloudInit != nil {
		f.Under("cloudInit", s.CloudInit.Validate())
	}
	if s.Boot != nil {
		f.Under("boot", s.Boot.Validate())
	}
	f.Under("labels", s.Labels.Validate())
	f.Under("annotations", s.Annotations.Validate())
	seen := map[string]bool{}
	for i, n := range s.Native {
		switch {
		case n == nil:
			f.Add(at("native", i), "must not be nil")
		case n.NativeProvider() == "":
			f.Add(at("native", i), "must name its provider")
		case n.NativeVersion() == "":
			f.Add(at("native", i), "must have a version")
		case seen[n.NativeProvider()]:
			f.Add(at("native", i), "is the second one for %s", resource.Quote(n.NativeProvider()))
		default:
			seen[n.NativeProvider()] = true
		}
	}
	return f
}

// Validate reports every fault of the process.
func (p Process) Validate() resource.Faults {
	var f resource.Faults
	total := 0
	for i, arg := range p.Command {
		total += len(arg) + 1
		f.AddReason(at("command", i), checkString(arg))
	}
	if len(p.Command) > 0 && p.Command[0] == "" {
		f.Add("command[0]", "must not be empty")
	}
	for i, arg := range p.Args {
		total += len(arg) + 1
		f.AddReason(at("args", i), checkString(arg))
	}
	for _, name := range sortedKeys(p.Env) {
		total += len(name) + len(p.Env[name]) + 2
		f.AddReason(resource.MapField("env", name), checkEnv(name, p.Env[name]))
	}
	if total > maxText {
		f.Add("env", "must have at most %d bytes together with the command, have %d", maxText, total)
	}
	f.AddReason("user", checkUser(p.User))
	if p.Dir != "" {
		f.AddReason("dir", checkPath(p.Dir))
	}
	return f
}

// ParseEnv reads environment variables of the form NAME=VALUE, as os.Environ
// gives them. Later ones replace earlier ones. The error is Faults.
func ParseEnv(entries []string) (map[string]string, error) {
	var f resource.Faults
	env := make(map[string]string, len(entries))
	for i, entry := range entries {
		name, value, found := strings.Cut(entry, "=")
		if !found {
			f.Add(at("env", i), "must have the form NAME=VALUE")
			continue
		}
		f.AddReason(at("env", i), checkEnv(name, value))
		env[name] = value
	}
	if err := f.Err(); err != nil {
		return nil, err
	}
	return env, nil
}

// Validate reports every fault of the resources.
func (r Resources) Validate() resource.Faults {
	var f resource.Faults
	switch {
	case math.IsNaN(r.CPUs) || r.CPUs < 0 || r.CPUs > maxCPUs:
		f.Add("cpus", "must be from 0 to %d, is %v", maxCPUs, r.CPUs)
	case r.CPUs > 0 && r.CPUs < 0.01:
		f.Add("cpus", "must be 0 or at least 0.01, is %v", r.CPUs)
	}
	if r.CPUWeight < 0 || r.CPUWeight > 10000 {
		f.Add("cpuWeight", "must be from 0 to 10000, is %d", r.CPUWeight)
	}
	f.AddReason("cpuSet", checkCPUSet(r.CPUSet))
	if reason := checkRange(r.Memory, 0, maxBytes); reason != "" {
		f.AddReason("memory", reason)
	} else if r.Memory > 0 && r.Memory < minMemory {
		f.Add("memory", "must be 0 or at least %s, is %s", resource.FormatSize(minMemory), resource.FormatSize(r.Memory))
	}
	f.AddReason("memoryReservation", checkRange(r.MemoryReservation, 0, maxBytes))
	if r.Memory > 0 && r.MemoryReservation > r.Memory {
		f.Add("memoryReservation", "must not be above memory")
	}
	f.AddReason("swap", checkRange(r.Swap, 0, maxBytes))
	if r.Swap > 0 && r.Memory == 0 {
		f.Add("swap", "needs memory")
	}
	f.AddReason("pids", checkRange(r.PIDs, 0, maxCount))
	f.AddReason("shmSize", checkRange(r.ShmSize, 0, maxBytes))
	f.AddReason("diskRead", checkRange(r.DiskRead, 0, maxBytes))
	f.AddReason("diskWrite", checkRange(r.DiskWrite, 0, maxBytes))
	f.AddReason("netReceive", checkRange(r.NetReceive, 0, maxBytes))
	f.AddReason("netTransmit", checkRange(r.NetTransmit, 0, maxBytes))
	return f
}

func (s Spec) validateMounts(f *resource.Faults) {
	taken := make(map[string]int, len(s.Mounts))
	for i, m := range s.Mounts {
		field := at("mounts", i)
		f.AddReason(field+".path", checkPath(m.Path))
		clean := path.Clean(m.Path)
		if clean == "/" {
			f.Add(field+".path", "must not be the root")
		}
		if j, ok := taken[clean]; ok {
			f.Add(field+".path", "is that of mounts[%d] too", j)
		} else {
			taken[clean] = i
		}
		switch m.Type {
		case MountVolume, MountDevice:
			if !resource.IsID(m.Source) {
				f.AddReason(field+".source", resource.CheckName(m.Source))
			}
		case MountBind:
			f.AddReason(field+".source", checkPath(m.Source))
		case MountTmpfs:
			if m.Source != "" {
				f.Add(field+".source", "must be empty for tmpfs")
			}
		default:
			f.Add(field+".type", "must be %q, %q, %q or %q", MountVolume, MountTmpfs, MountBind, MountDevice)
		}
		if m.SubPath != "" {
			f.AddReason(field+".subPath", checkSubPath(m.SubPath))
			if m.Type == MountTmpfs || m.Type == MountDevice {
				f.Add(field+".subPath", "must be empty for %s", m.Type)
			}
		}
		f.AddReason(field+".size", checkRange(m.Size, 0, maxBytes))
		if m.Size > 0 && m.Type != MountTmpfs {
			f.Add(field+".size", "is for tmpfs only")
		}
	}
}

func (s Spec) validateFiles(f *resource.Faults) {
	total := 0
	seen := map[string]bool{}
	for i, file := range s.Files {
		field := at("files", i)
		f.AddReason(field+".path", checkPath(file.Path))
		if seen[file.Path] {
			f.Add(field+".path", "is that of another file")
		}
		seen[file.Path] = true
		if strings.HasSuffix(file.Path, "/") {
			f.Add(field+".path", "must not end with a slash")
		}
		total += len(file.Data) + len(file.Secret.Reveal())
		if len(file.Data) > 0 && !file.Secret.IsZero() {
			f.Add(field+".secret", "must not be set together with data")
		}
		if file.Secret.Redacted() {
			f.Add(field+".secret", "was redacted and must be given again")
		}
		if file.Mode > 0o7777 {
			f.Add(field+".mode", "must be at most 07777")
		}
		f.AddReason(field+".uid", checkRange(int64(file.UID), 0, maxID))
		f.AddReason(field+".gid", checkRange(int64(file.GID), 0, maxID))
	}
	if total > maxFiles {
		f.Add("files", "must have at most %s together", resource.FormatSize(maxFiles))
	}
}

func (s Spec) validateNetworks(f *resource.Faults) {
	switch s.NetworkMode {
	case NetworkAttached:
	case NetworkNone, NetworkHost:
		if len(s.Networks) > 0 {
			f.Add("networks", "must be empty where networkMode is %q", s.NetworkMode)
		}
	default:
		f.Add("networkMode", "must be empty, %q or %q", NetworkNone, NetworkHost)
	}
	for i, n := range s.Networks {
		f.Under(at("networks", i), n.Validate())
	}
	for i, a := range s.DNS.Servers {
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() {
			f.Add(at("dns.servers", i), "must be a host's address")
		}
	}
	for i, d := range s.DNS.Search {
		f.AddReason(at("dns.search", i), network.CheckDomain(d))
	}
	for i, o := range s.DNS.Options {
		if o == "" || strings.ContainsFunc(o, func(r rune) bool { return r <= ' ' || r > '~' }) {
			f.Add(at("dns.options", i), "must be one word, see resolv.conf(5)")
		}
	}
	for _, name := range sortedKeys(s.DNS.Hosts) {
		f.AddReason(resource.MapField("dns.hosts", name), network.CheckDomain(name))
		if !s.DNS.Hosts[name].IsValid() {
			f.Add(resource.MapField("dns.hosts", name), "must be an address")
		}
	}
}

// Validate reports every fault of the attachment.
func (n NetworkAttachment) Validate() resource.Faults {
	var f resource.Faults
	switch {
	case n.Endpoint != "":
		if !resource.IsID(n.Endpoint) {
			f.Add("endpoint", "must be an endpoint's ID")
		}
		if n.Network != "" || len(n.MAC) > 0 || len(n.Addresses) > 0 || len(n.Aliases) > 0 {
			f.Add("endpoint", "must not be set together with anything else")
		}
	case !resource.IsID(n.Network):
		f.AddReason("network", resource.CheckName(n.Network))
	}
	f.AddReason("mac", network.CheckMAC(n.MAC))
	for i, a := range n.Addresses {
		f.AddReason(at("addresses", i), network.CheckHostAddress(a))
	}
	for i, a := range n.Aliases {
		f.AddReason(at("aliases", i), resource.CheckName(a))
	}
	return f
}

// Validate reports every fault of the policy.
func (r RestartPolicy) Validate() resource.Faults {
	var f resource.Faults
	switch r.Mode {
	case "", RestartNever, RestartOnFailure, RestartAlways:
	default:
		f.Add("mode", "must be %q, %q or %q", RestartNever, RestartOnFailure, RestartAlways)
	}
	f.AddReason("maxRetries", checkRange(int64(r.MaxRetries), 0, maxCount))
	f.AddReason("backoff", checkDuration(r.Backoff))
	return f
}

// Validate reports every fault of the probe. The ports are those of the
// instance, which a probe may name.
func (p Probe) Validate(ports []network.Port) resource.Faults {
	var f resource.Faults
	ways := 0
	if len(p.Exec) > 0 {
		ways++
		for i, arg := range p.Exec {
			f.AddReason(at("exec", i), checkString(arg))
		}
		if p.Exec[0] == "" {
			f.Add("exec[0]", "must not be empty")
		}
	}
	if p.TCP != "" {
		ways++
		f.AddReason("tcp", checkProbedPort(ports, p.TCP))
	}
	if p.HTTP != nil {
		ways++
		f.AddReason("http.port", checkProbedPort(ports, p.HTTP.Port))
		f.AddReason("http.path", checkURLPath(p.HTTP.Path))
	}
	if ways != 1 {
		f.Add("", "must have exactly one of exec, tcp and http")
	}
	f.AddReason("interval", checkDuration(p.Interval))
	f.AddReason("timeout", checkDuration(p.Timeout))
	f.AddReason("startPeriod", checkDuration(p.StartPeriod))
	f.AddReason("failures", checkRange(int64(p.Failures), 0, maxCount))
	return f
}

// Validate reports every fault of the security settings.
func (s Security) Validate() resource.Faults {
	var f resource.Faults
	for _, list := range []struct {
		field string
		names []string
	}{{"addCapabilities", s.AddCapabilities}, {"dropCapabilities", s.DropCapabilities}} {
		for i, name := range list.names {
			if !isCapability(name) {
				f.Add(at(list.field, i), "is no capability: %s", resource.Quote(name))
			}
		}
	}
	switch {
	case s.Seccomp == "" || s.Seccomp == "unconfined":
	case len(s.Seccomp) > maxProfile:
		f.Add("seccomp", "must have at most %s", resource.FormatSize(maxProfile))
	case !json.Valid([]byte(s.Seccomp)):
		f.Add("seccomp", `must be a profile as JSON, or "unconfined"`)
	}
	return f
}

// Validate reports every fault of the device.
func (d Device) Validate() resource.Faults {
	var f resource.Faults
	if strings.HasPrefix(d.Source, "/") {
		f.AddReason("source", checkPath(d.Source))
	} else if !isCDIName(d.Source) {
		f.Add("source", "must be an absolute path or a CDI name, vendor/class=name")
	}
	if d.Path != "" {
		f.AddReason("path", checkPath(d.Path))
	}
	if strings.Trim(d.Permissions, "rwm") != "" {
		f.Add("permissions", `must consist of "r", "w" and "m"`)
	}
	return f
}

// Validate reports every fault of the data.
func (c CloudInit) Validate() resource.Faults {
	var f resource.Faults
	if c.UserData.Redacted() {
		f.Add("userData", "was redacted and must be given again")
	}
	f.AddReason("metaData", checkText(c.MetaData))
	f.AddReason("networkConfig", checkText(c.NetworkConfig))
	if len(c.UserData.Reveal())+len(c.MetaData)+len(c.NetworkConfig) > maxFiles {
		f.Add("", "must have at most %s together", resource.FormatSize(maxFiles))
	}
	return f
}

// Validate reports every fault of the boot settings.
func (b Boot) Validate() resource.Faults {
	var f resource.Faults
	if b.Kernel != "" {
		f.AddReason("kernel", checkPath(b.Kernel))
	}
	if b.Initrd != "" {
		f.AddReason("initrd", checkPath(b.Initrd))
	}
	if b.Kernel == "" && (b.Initrd != "" || b.CommandLine != "") {
		f.Add("kernel", "is required where initrd or commandLine is set")
	}
	f.AddReason("commandLine", checkText(b.CommandLine))
	switch b.Firmware {
	case "", FirmwareBIOS, FirmwareUEFI:
	default:
		f.Add("firmware", "must be %q or %q", FirmwareBIOS, FirmwareUEFI)
	}
	if b.Machine != "" && resource.CheckLabelValue(b.Machine) != "" {
		f.Add("machine", "must consist of letters, digits, '-', '_' and '.'")
	}
	return f
}

func checkDuration(d time.Duration) string {
	if d < 0 {
		return "must not be negative"
	}
	return ""
}

func at(field string, index int) string { return fmt.Sprintf("%s[%d]", field, index) }

// sortedKeys are the keys of a map in their order. Those of none cost nothing.
func sortedKeys[M ~map[string]V, V any](m M) []string {
	if len(m) == 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(m))
}
