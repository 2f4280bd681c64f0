package containerd

import (
	"cmp"
	"maps"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

const (
	// ociVersion is the version of the runtime specification that all that is
	// written needs; a runtime refuses one that is newer than itself.
	ociVersion = "1.0.2"

	defaultPath    = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	defaultShmSize = 64 << 20
	// softFiles is what programs expect; some walk through all numbers up to it.
	softFiles = 1024
	hardFiles = 512 << 10
)

// withChoices returns the spec with what the provider chooses.
func withChoices(spec compute.Spec, image compute.ImageConfig) compute.Spec {
	spec = spec.Clone()
	spec.Kind = compute.Container
	spec.Hostname = cmp.Or(spec.Hostname, spec.Name)
	spec.StopGrace = cmp.Or(spec.StopGrace, compute.DefaultGrace)
	if spec.NetworkMode == compute.NetworkAttached {
		spec.NetworkMode = compute.NetworkNone
	}
	if spec.StopSignal == "" {
		spec.StopSignal = "SIGTERM"
		// The image is not to be trusted: a signal that there is none is ignored.
		if number, err := compute.ParseSignal(image.StopSignal); err == nil {
			spec.StopSignal = compute.SignalName(number)
		}
	}
	return spec
}

// translation is all that an OCI runtime spec is made of.
type translation struct {
	id, space string
	// spec has the provider's choices.
	spec  compute.Spec
	image compute.ImageConfig
	user  specs.User
	host  host
}

// runtimeSpec translates a spec. The error is Faults, or names a field.
func (t translation) runtimeSpec() (*specs.Spec, error) {
	var faults resource.Faults
	security := t.spec.Security
	out := &specs.Spec{
		Version:  ociVersion,
		Hostname: t.spec.Hostname,
		Root:     &specs.Root{Path: "rootfs", Readonly: security.ReadOnlyRoot},
		Process: &specs.Process{
			Terminal:        t.spec.Process.TTY,
			User:            t.user,
			Args:            t.arguments(&faults),
			Env:             t.environment(),
			Cwd:             t.directory(),
			Capabilities:    capabilitySets(t.capabilities()),
			Rlimits:         t.rlimits(),
			NoNewPrivileges: !security.AllowPrivilegeEscalation && !security.Privileged,
		},
		Mounts: t.mounts(),
		Linux: &specs.Linux{
			CgroupsPath: cgroupOf(t.space, t.id),
			Namespaces:  t.namespaces(),
			Resources:   resourcesOf(t.spec.Resources, t.host),
			Sysctl:      maps.Clone(t.spec.Sysctls),
		},
	}
	t.checkSysctls(&faults)
	if err := faults.Err(); err != nil {
		return nil, err
	}
	if security.Privileged {
		devices, err := t.host.devices()
		if err != nil {
			return nil, err
		}
		out.Linux.Devices = devices
		out.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
	} else {
		out.Process.ApparmorProfile = t.host.apparmor
		out.Linux.MaskedPaths = slices.Clone(maskedPaths)
		out.Linux.ReadonlyPaths = slices.Clone(readonlyPaths)
		if !t.host.unified {
			// Runc leaves the folder of the hierarchies writable there.
			out.Linux.ReadonlyPaths = append(out.Linux.ReadonlyPaths, "/sys/fs/cgroup")
		}
		out.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}
	}
	if err := t.confine(out); err != nil {
		return nil, err
	}
	if err := addDevices(out, t.spec.Devices, t.host.cdi); err != nil {
		return nil, err
	}
	return out, t.edit(out)
}

// arguments is the command line, by the rules of images.
func (t translation) arguments(faults *resource.Faults) []string {
	p := t.spec.Process
	var args []string
	switch {
	case len(p.Command) > 0:
		args = slices.Concat(p.Command, p.Args)
	case len(p.Args) > 0:
		args = slices.Concat(t.image.Entrypoint, p.Args)
	default:
		args = slices.Concat(t.image.Entrypoint, t.image.Cmd)
	}
	if len(args) == 0 || args[0] == "" {
		faults.Add("process.command", "is required: the image names none")
	}
	return args
}

// environment is the image's with the spec's in its place or behind it.
func (t translation) environment() []string {
	var env []string
	index := make(map[string]int)
	set := func(name, value string) {
		if i, ok := index[name]; ok {
			env[i] = name + "=" + value
			return
		}
		index[name] = len(env)
		env = append(env, name+"="+value)
	}
	set("PATH", defaultPath)
	if t.spec.Process.TTY {
		set("TERM", "xterm")
	}
	for _, entry := range t.image.Env {
		// What an image holds that cannot be a variable is left out.
		if name, value, ok := strings.Cut(entry, "="); ok && name != "" && !strings.Contains(entry, "\x00") {
			set(name, value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.spec.Process.Env)) {
		set(name, t.spec.Process.Env[name])
	}
	return env
}

func (t translation) directory() string {
	dir := cmp.Or(t.spec.Process.Dir, t.image.Dir, "/")
	if strings.Contains(dir, "\x00") {
		return "/"
	}
	// Rooted, so that no ".." leads out of it.
	return path.Clean("/" + dir)
}

func (t translation) rlimits() []specs.POSIXRlimit {
	limits := maps.Clone(t.spec.RLimits)
	if _, set := limits["nofile"]; !set && t.host.files > 0 {
		if limits == nil {
			limits = make(map[string]compute.RLimit)
		}
		hard := min(hardFiles, t.host.files)
		limits["nofile"] = compute.RLimit{Soft: int64(min(softFiles, hard)), Hard: int64(hard)}
	}
	var out []specs.POSIXRlimit
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		out = append(out, specs.POSIXRlimit{
			Type: "RLIMIT_" + strings.ToUpper(name),
			Soft: rlimitValue(limits[name].Soft),
			Hard: rlimitValue(limits[name].Hard),
		})
	}
	return out
}

func rlimitValue(n int64) uint64 {
	if n < 0 {
		return math.MaxUint64
	}
	return uint64(n)
}

func (t translation) namespaces() []specs.LinuxNamespace {
	kinds := []specs.LinuxNamespaceType{specs.PIDNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.MountNamespace, specs.CgroupNamespace}
	if t.spec.NetworkMode != compute.NetworkHost {
		kinds = append(kinds, specs.NetworkNamespace)
	}
	out := make([]specs.LinuxNamespace, len(kinds))
	for i, kind := range kinds {
		out[i].Type = kind
	}
	return out
}

// checkSysctls refuses kernel parameters that are not the instance's own.
func (t translation) checkSysctls(faults *resource.Faults) {
	for _, name := range slices.Sorted(maps.Keys(t.spec.Sysctls)) {
		own := slices.Contains(ipcSysctls, name) || strings.HasPrefix(name, "fs.mqueue.") ||
			strings.HasPrefix(name, "net.") && t.spec.NetworkMode != compute.NetworkHost
		if !own {
			faults.Add("sysctls["+name+"]", "is not the instance's own, but the host's")
		}
	}
}

var ipcSysctls = []string{
	"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem",
	"kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced",
}

// mounts are what every container has, then the spec's, the outer ones first.
func (t translation) mounts() []specs.Mount {
	mode := "ro"
	if t.spec.Security.Privileged {
		mode = "rw"
	}
	shm := cmp.Or(t.spec.Resources.ShmSize, defaultShmSize)
	out := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", sizeOption(shm)}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", mode}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", mode}},
	}
	if t.spec.NetworkMode == compute.NetworkHost {
		// Who shares the host's network looks names up as the host does.
		for _, file := range []string{"/etc/resolv.conf", "/etc/hosts"} {
			out = append(out, specs.Mount{Destination: file, Type: "bind", Source: file, Options: []string{"rbind", "rprivate", "ro"}})
		}
	}
	own := slices.Clone(t.spec.Mounts)
	slices.SortStableFunc(own, func(a, b compute.Mount) int {
		return strings.Count(path.Clean(a.Path), "/") - strings.Count(path.Clean(b.Path), "/")
	})
	for _, m := range own {
		if m.Type == compute.MountTmpfs || m.Type == compute.MountBind { // a plan may have others
			out = append(out, runtimeMount(m))
		}
	}
	return out
}

func runtimeMount(m compute.Mount) specs.Mount {
	mode := []string{"rw"}
	if m.ReadOnly {
		mode = []string{"ro"}
	}
	destination := path.Clean(m.Path)
	if m.Type == compute.MountTmpfs {
		options := append([]string{"nosuid", "noexec", "nodev", "mode=1777"}, mode...)
		if m.Size > 0 {
			options = append(options, sizeOption(m.Size))
		}
		return specs.Mount{Destination: destination, Type: "tmpfs", Source: "tmpfs", Options: options}
	}
	if m.ReadOnly {
		// What is mounted below the source must not be writable either.
		mode = append(mode, "rro")
	}
	return specs.Mount{Destination: destination, Type: "bind", Source: path.Clean(m.Source), Options: append([]string{"rbind", "rprivate"}, mode...)}
}

// cgroupOf is the cgroup of an instance. It has no parent of ours: nobody would
// know when the last of its instances is gone and it can go too.
func cgroupOf(space, id string) string { return "/" + space + "." + id }

// edit lets the program's own hand have the last word.
func (t translation) edit(out *specs.Spec) error {
	switch native := t.spec.Native.For(Scheme).(type) {
	case nil:
		return nil
	case SpecEdit:
		if native.Edit == nil {
			return nil
		}
		return native.Edit(out)
	default:
		return &resource.Error{Kind: errdefs.ErrInvalidArgument, Field: "native",
			Err: resource.Errorf(errdefs.ErrInvalidArgument, "a native value for containerd must be a containerd.SpecEdit, is %T", native).Err}
	}
}
