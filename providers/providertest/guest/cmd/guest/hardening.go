//go:build linux && (amd64 || arm64)

package main

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/univirt/univirt/providers/providertest/guest"
)

func examine() (guest.Hardening, error) {
	h := guest.Hardening{Paths: map[string]guest.PathState{}}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return h, err
	}
	if err := h.ParseStatus(string(status)); err != nil {
		return h, err
	}
	if uids, err := os.ReadFile("/proc/self/uid_map"); err == nil {
		h.UIDMap = strings.Join(strings.Fields(string(uids)), " ")
	}
	for _, paths := range [][]string{guest.MaskedPaths, guest.ReadOnlyPaths} {
		for _, path := range paths {
			h.Paths[path] = state(path)
		}
	}
	h.Calls = attempts()
	return h, nil
}

// Flags and types that statfs reports.
const (
	statReadOnly = 1
	typeTmpfs    = 0x01021994
)

// state tells a mask by its looks: runtimes bind /dev/null over a file, and an
// empty read-only tmpfs over a folder.
func state(path string) guest.PathState {
	info, err := os.Lstat(path)
	if err != nil {
		return guest.PathAbsent
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(path, &fs); err != nil {
		return guest.PathAbsent
	}
	if info.Mode()&os.ModeCharDevice != 0 && info.Sys().(*syscall.Stat_t).Rdev == 1<<8|3 {
		return guest.PathMasked
	}
	readOnly := fs.Flags&statReadOnly != 0
	if readOnly && info.IsDir() && int64(fs.Type) == typeTmpfs {
		if entries, err := os.ReadDir(path); err == nil && len(entries) == 0 {
			return guest.PathMasked
		}
	}
	if readOnly {
		return guest.PathReadOnly
	}
	return guest.PathOpen
}

// attempts tries what a container is usually kept from, in a way that changes
// nothing if it is allowed, as root may run this outside of any container: the
// kernel looks at the permission first and then refuses the arguments. What does
// succeed changes only the thread, which is thrown away.
func attempts() map[string]string {
	calls := map[string]string{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		for name, call := range probes {
			calls[name] = errorName(call())
		}
	}()
	<-done
	return calls
}

func errorName(err error) string {
	if err == nil {
		return ""
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err.Error()
	}
	switch errno {
	case syscall.EPERM:
		return "EPERM"
	case syscall.EACCES:
		return "EACCES"
	case syscall.ENOSYS:
		return "ENOSYS"
	}
	return errno.Error()
}

func call(number uintptr, args ...uintptr) func() error {
	var a [6]uintptr
	copy(a[:], args)
	return func() error {
		if _, _, errno := syscall.Syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
			return errno
		}
		return nil
	}
}

// none is an argument that is no valid descriptor, command or count.
const none = ^uintptr(0)

var probes = map[string]func() error{
	// There is no file system of that type.
	"mount": func() error { return syscall.Mount("none", "/", "univirt-none", 0, "") },
	// Nothing is ever mounted there.
	"umount": func() error { return syscall.Unmount("/proc/self/task", 0) },
	// The root cannot replace itself.
	"pivot_root":   func() error { return syscall.PivotRoot("/", "/") },
	"unshare-uts":  func() error { return syscall.Unshare(syscall.CLONE_NEWUTS) },
	"unshare-user": func() error { return syscall.Unshare(syscall.CLONE_NEWUSER) },
	"setns":        call(sysSetns, none),
	// No process is traced by itself.
	"ptrace":            call(syscall.SYS_PTRACE, syscall.PTRACE_CONT, uintptr(os.Getpid())),
	"add_key":           call(syscall.SYS_ADD_KEY),
	"keyctl":            call(syscall.SYS_KEYCTL, none),
	"bpf":               call(sysBPF, none),
	"userfaultfd":       call(sysUserfaultfd, none),
	"io_uring_setup":    call(sysIOUringSetup),
	"perf_event_open":   call(syscall.SYS_PERF_EVENT_OPEN),
	"clone3":            call(sysClone3),
	"open_by_handle_at": call(sysOpenByHandleAt, none),
	"init_module":       call(syscall.SYS_INIT_MODULE),
	// More segments than there can be; none at all would unload the kernel that
	// is loaded.
	"kexec_load": call(syscall.SYS_KEXEC_LOAD, 0, none),
	// Without the magic numbers.
	"reboot":      call(syscall.SYS_REBOOT),
	"swapon":      call(syscall.SYS_SWAPON),
	"sethostname": call(syscall.SYS_SETHOSTNAME, 0, none),
	// Neither a time nor a zone is given.
	"settimeofday": call(syscall.SYS_SETTIMEOFDAY),
	"mknod":        func() error { return withDevice(func(string) error { return nil }) },
	"open-device": func() error {
		return withDevice(func(path string) error {
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			return f.Close()
		})
	},
	"socket-raw":   func() error { return socket(syscall.AF_INET, syscall.SOCK_RAW, syscall.IPPROTO_ICMP) },
	"socket-alg":   func() error { return socket(familyAlg, syscall.SOCK_SEQPACKET, 0) },
	"socket-vsock": func() error { return socket(familyVsock, syscall.SOCK_STREAM, 0) },
}

// Address families that package syscall does not name.
const (
	familyAlg   = 38
	familyVsock = 40
)

func socket(family, kind, protocol int) error {
	fd, err := syscall.Socket(family, kind|syscall.SOCK_CLOEXEC, protocol)
	if err != nil {
		return err
	}
	return syscall.Close(fd)
}

// withDevice makes a device file for the first loop device, which needs no
// capability to open, and removes it again.
func withDevice(use func(path string) error) error {
	dir, err := os.MkdirTemp("", "guest")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "device")
	if err := syscall.Mknod(path, syscall.S_IFBLK|0o600, 7<<8); err != nil {
		return err
	}
	return use(path)
}
