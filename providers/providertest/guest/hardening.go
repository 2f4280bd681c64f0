package guest

import (
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// Hardening is what "hardening" prints: how far the program is kept from the
// machine below it.
type Hardening struct {
	// Seccomp is the mode from /proc/self/status: 0 none, 1 strict, 2 a filter.
	Seccomp int `json:"seccomp"`
	// NoNewPrivs says that no execve can give privileges.
	NoNewPrivs bool `json:"noNewPrivs"`
	// The sets of capabilities, without the prefix CAP_, by number.
	Bounding    []string `json:"bounding"`
	Effective   []string `json:"effective"`
	Permitted   []string `json:"permitted"`
	Inheritable []string `json:"inheritable"`
	Ambient     []string `json:"ambient"`
	// Paths says how each of MaskedPaths and ReadOnlyPaths is seen.
	Paths map[string]PathState `json:"paths"`
	// Calls says for each of a fixed list of privileged actions what came of it:
	// empty for success, else the name of the error, such as "EPERM". All of them
	// are attempted in a way that changes nothing if they are allowed; an error
	// other than EPERM, EACCES and ENOSYS says that nothing forbade the attempt.
	Calls map[string]string `json:"calls"`
	// UIDMap is the content of /proc/self/uid_map with single spaces.
	UIDMap string `json:"uidMap"`
}

// Forbids reports whether a call was attempted and denied.
func (h Hardening) Forbids(call string) bool {
	switch h.Calls[call] {
	case "EPERM", "EACCES", "ENOSYS":
		return true
	}
	return false
}

// PathState says how a path of the kernel is seen from inside.
type PathState string

// The states of a path.
const (
	// PathAbsent: it does not exist, or cannot be examined.
	PathAbsent PathState = "absent"
	// PathMasked: an empty file or folder lies over it.
	PathMasked PathState = "masked"
	// PathReadOnly: it lies on a file system that is mounted read-only.
	PathReadOnly PathState = "readonly"
	// PathOpen: none of these.
	PathOpen PathState = "open"
)

// MaskedPaths are the paths that Docker masks by default.
var MaskedPaths = []string{
	"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
	"/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
	"/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
}

// ReadOnlyPaths are the paths that Docker makes read-only by default.
var ReadOnlyPaths = []string{
	"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
	"/sys/fs/cgroup", "/sys/kernel",
}

// ForbiddenCalls are the actions among those of Hardening.Calls that Docker
// forbids by default. It allows the others: making a device file, but not opening
// it; raw sockets; tracing one's own processes.
var ForbiddenCalls = []string{
	"add_key", "bpf", "clone3", "init_module", "io_uring_setup", "kexec_load",
	"keyctl", "mount", "open-device", "open_by_handle_at", "perf_event_open",
	"pivot_root", "reboot", "sethostname", "setns", "settimeofday", "socket-alg",
	"socket-vsock", "swapon", "umount", "unshare-user", "unshare-uts", "userfaultfd",
}

// Capabilities are those that Docker leaves to a container by default.
var Capabilities = []string{
	"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
	"SETPCAP", "NET_BIND_SERVICE", "NET_RAW", "SYS_CHROOT", "MKNOD", "AUDIT_WRITE",
	"SETFCAP",
}

// Gaps says in what the program is less confined than by Docker's defaults
// together with no-new-privileges; nothing if it is at least as confined. What
// has not been examined is a gap.
func (h Hardening) Gaps() []string {
	var gaps []string
	gap := func(open bool, format string, args ...any) {
		if open {
			gaps = append(gaps, fmt.Sprintf(format, args...))
		}
	}
	gap(h.Seccomp != 2, "no seccomp filter")
	gap(!h.NoNewPrivs, "new privileges")
	for _, set := range [][]string{h.Bounding, h.Effective, h.Permitted, h.Inheritable, h.Ambient} {
		for _, c := range set {
			gap(!slices.Contains(Capabilities, c), "capability %s", c)
		}
	}
	for _, path := range MaskedPaths {
		s := h.Paths[path]
		gap(s != PathAbsent && s != PathMasked, "%s is not masked", path)
	}
	for _, path := range ReadOnlyPaths {
		s := h.Paths[path]
		gap(s != PathAbsent && s != PathMasked && s != PathReadOnly, "%s is not read-only", path)
	}
	for _, call := range ForbiddenCalls {
		gap(!h.Forbids(call), "%s is not forbidden", call)
	}
	slices.Sort(gaps)
	return slices.Compact(gaps)
}

// capabilities are Linux' names by number.
var capabilities = [...]string{
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL",
	"SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE",
	"NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
	"SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT",
	"SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME",
	"SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
	"MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND",
	"AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
}

// ParseStatus fills in what the text of /proc/self/status tells: the seccomp
// mode, NoNewPrivs and the capability sets. Lines that are missing, as on old
// kernels, leave the zero value.
func (h *Hardening) ParseStatus(text string) error {
	sets := map[string]*[]string{
		"CapBnd": &h.Bounding, "CapEff": &h.Effective, "CapPrm": &h.Permitted,
		"CapInh": &h.Inheritable, "CapAmb": &h.Ambient,
	}
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		value = strings.TrimSpace(value)
		var err error
		switch key {
		case "Seccomp":
			h.Seccomp, err = strconv.Atoi(value)
		case "NoNewPrivs":
			h.NoNewPrivs, err = strconv.ParseBool(value)
		default:
			if set, ok := sets[key]; ok {
				*set, err = capabilitySet(value)
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	return nil
}

// capabilitySet names the bits of a mask in hexadecimal digits.
func capabilitySet(mask string) ([]string, error) {
	set, err := strconv.ParseUint(mask, 16, 64)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, bits.OnesCount64(set))
	for n := range 64 {
		if set&(1<<n) == 0 {
			continue
		}
		if n < len(capabilities) {
			names = append(names, capabilities[n])
		} else {
			names = append(names, strconv.Itoa(n))
		}
	}
	return names, nil
}
