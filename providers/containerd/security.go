package containerd

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// defaultCapabilities are Docker's.
var defaultCapabilities = []string{
	"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
	"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}

// maskedPaths and readonlyPaths are Docker's: what of the kernel tells about the
// host, or lets it be changed.
var (
	maskedPaths = []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
		"/sys/devices/virtual/powercap", "/sys/firmware",
	}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

const unconfined = "unconfined"

// capabilities are those that the process and what it starts can have.
func (t translation) capabilities() []string {
	s := t.spec.Security
	has := make(map[string]bool)
	set := func(names []string, value bool) {
		for _, name := range names {
			has[name] = value
		}
	}
	each := func(names []string, value bool) {
		for _, name := range names {
			if name == "ALL" {
				clear(has)
				set(t.host.capabilities, value)
			}
		}
		for _, name := range names {
			if name != "ALL" {
				has["CAP_"+name] = value
			}
		}
	}
	set(defaultCapabilities, true)
	if s.Privileged {
		set(t.host.capabilities, true)
	}
	// "All but these" and "these alone" are both meant by one list with ALL, so
	// that the names in the other list count last.
	if slices.Contains(s.AddCapabilities, "ALL") {
		each(s.AddCapabilities, true)
		each(s.DropCapabilities, false)
	} else {
		each(s.DropCapabilities, false)
		each(s.AddCapabilities, true)
	}
	var names []string
	for name, value := range has {
		if value {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// capabilitySets gives a process its capabilities, and leaves nothing to be
// inherited by a program of another user.
func capabilitySets(names []string) *specs.LinuxCapabilities {
	return &specs.LinuxCapabilities{Bounding: names, Effective: slices.Clone(names), Permitted: slices.Clone(names)}
}

// confine puts the seccomp filter into the spec. The default one depends on the
// capabilities, so that it comes last.
func (t translation) confine(out *specs.Spec) error {
	profile := t.spec.Security.Seccomp
	switch {
	case profile == unconfined, profile == "" && t.spec.Security.Privileged:
		return nil
	case profile == "":
		out.Linux.Seccomp = t.host.seccomp(out)
		return nil
	}
	filter, err := parseSeccomp([]byte(profile), out.Process.Capabilities.Bounding)
	if err != nil {
		return err
	}
	out.Linux.Seccomp = filter
	return nil
}
