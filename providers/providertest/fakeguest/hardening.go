package fakeguest

import (
	"slices"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/providers/providertest/guest"
)

// defaultCapabilities are those that Docker gives to a container's root.
var defaultCapabilities = []string{
	"CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "FSETID", "SETGID", "SETUID", "SETPCAP",
	"NET_BIND_SERVICE", "NET_RAW", "SYS_CHROOT", "MKNOD", "AUDIT_WRITE", "SETFCAP",
}

// privilegedCalls are what the seccomp filter and the want of capabilities keep a
// program from.
var privilegedCalls = []string{
	"mount", "umount", "pivot_root", "unshare-uts", "unshare-user", "setns", "ptrace", "add_key", "keyctl", "bpf",
	"userfaultfd", "io_uring_setup", "perf_event_open", "clone3", "open_by_handle_at", "init_module", "kexec_load",
	"reboot", "swapon", "sethostname", "settimeofday", "open-device", "socket-alg", "socket-vsock",
}

// hardening says what a real provider that honours the spec would keep the
// program from. The fake itself keeps it from nothing: the program is a Go
// function.
func hardening(p *fake.Process) guest.Hardening {
	s := p.Spec().Security
	h := guest.Hardening{
		Seccomp:     2,
		NoNewPrivs:  !s.AllowPrivilegeEscalation && !s.Privileged,
		Bounding:    capabilities(s),
		Inheritable: []string{},
		Ambient:     []string{},
		Paths:       map[string]guest.PathState{},
		Calls:       map[string]string{},
		UIDMap:      "0 0 4294967295",
	}
	if s.Seccomp == "unconfined" || s.Privileged {
		h.Seccomp = 0
	}
	if s.UserNamespace {
		h.UIDMap = "0 100000 65536"
	}
	h.Effective, h.Permitted = []string{}, []string{}
	if p.User.UID == 0 {
		h.Effective, h.Permitted = h.Bounding, h.Bounding
	}
	for _, path := range guest.HardenedPaths {
		switch {
		case s.Privileged:
			h.Paths[path] = guest.PathOpen
		case slices.Contains(readOnlyPaths, path):
			h.Paths[path] = guest.PathReadOnly
		default:
			h.Paths[path] = guest.PathMasked
		}
	}
	for _, call := range privilegedCalls {
		h.Calls[call] = "EPERM"
		if s.Privileged {
			h.Calls[call] = ""
		}
	}
	return h
}

var readOnlyPaths = []string{
	"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", "/sys/fs/cgroup", "/sys/kernel",
}

// capabilities are the default set with the spec's changes.
func capabilities(s compute.Security) []string {
	set := slices.Clone(defaultCapabilities)
	if s.Privileged {
		set = append(set, "SYS_ADMIN", "SYS_MODULE", "SYS_PTRACE", "NET_ADMIN")
	}
	if slices.Contains(s.DropCapabilities, "ALL") {
		set = nil
	}
	set = slices.DeleteFunc(set, func(c string) bool { return slices.Contains(s.DropCapabilities, c) })
	for _, c := range s.AddCapabilities {
		if !slices.Contains(set, c) {
			set = append(set, c)
		}
	}
	slices.Sort(set)
	return set
}
