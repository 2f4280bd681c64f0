package containerd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"

	"github.com/univirt/univirt/internal/pidfd"
	"github.com/univirt/univirt/resource"
)

// rootOfProcess opens the root of a process. One that has ended, or is not the one that is
// meant, is fs.ErrNotExist.
func rootOfProcess(pid int, is func(pid int) bool) (*os.File, error) {
	root, process, err := ofProcess(pid, is, "root", unix.O_PATH|unix.O_DIRECTORY)
	if err == nil {
		_ = process.Close()
	}
	return root, err
}

// networkOfProcess opens the network namespace of a process, and what stands for the
// process. One that has ended, or is not the one that is meant, is fs.ErrNotExist.
func networkOfProcess(pid int, is func(pid int) bool) (namespace, process *os.File, err error) {
	return ofProcess(pid, is, "ns/net", unix.O_RDONLY)
}

// ofProcess opens a process and a file that /proc has of it.
func ofProcess(pid int, is func(pid int) bool, name string, flags int) (file, process *os.File, err error) {
	if process, err = pidfd.Open(pid, is); err != nil {
		return nil, nil, err
	}
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/"+name, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		_ = process.Close()
		return nil, nil, err
	}
	// It is the process' if that is there still.
	poll := []unix.PollFd{{Fd: int32(process.Fd()), Events: unix.POLLIN}}
	if n, err := unix.Poll(poll, 0); n > 0 || err != nil {
		_ = unix.Close(fd)
		_ = process.Close()
		return nil, nil, os.ErrNotExist
	}
	return os.NewFile(uintptr(fd), name), process, nil
}

// nameless makes a file in a folder that no other process finds, and that dies with this
// one.
func nameless(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), dir), nil
	}
	if !errors.Is(err, unix.EOPNOTSUPP) {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	f, err := os.CreateTemp(dir, ".archive-*")
	if err == nil {
		err = os.Remove(f.Name())
	}
	return f, err
}

// mountApart mounts a root filesystem in a mount namespace of its own, and returns its
// directory: it is unmounted when that, and what was opened below it, is closed, if only
// by the death of this process. The place that it is mounted at is any folder.
func mountApart(mounts []mount.Mount, place string, readOnly bool) (*os.File, error) {
	if len(mounts) != 1 {
		return nil, resource.Unsupported("files", fmt.Sprintf("the snapshotter has a root filesystem of %d mounts", len(mounts)))
	}
	m, err := mountOf(mounts[0], readOnly)
	if err != nil {
		return nil, err
	}
	var dir *os.File
	onThread(func() { dir, err = m.apart(place) })
	return dir, err
}

// onThread runs a function with a thread that ends behind it. It is not the main thread,
// of which /proc/self tells and which no goroutine ends.
func onThread(do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			onThread(do)
			runtime.UnlockOSThread()
			return
		}
		do()
	}()
	<-done
}

// mounting is how a root filesystem is mounted.
type mounting struct {
	kind, source, data string
	flags              uintptr
	// from is the folder that paths in data begin with; empty where they are absolute.
	from     string
	readOnly bool
}

// mountOf understands what a snapshotter says: an overlay, or one folder.
func mountOf(m mount.Mount, readOnly bool) (mounting, error) {
	switch m.Type {
	case "overlay":
		return overlay(m.Options, readOnly)
	case "bind":
		return mounting{source: m.Source, flags: unix.MS_BIND | unix.MS_REC, readOnly: readOnly}, nil
	}
	return mounting{}, resource.Unsupported("files", "the snapshotter has a root filesystem of the type "+resource.Quote(m.Type))
}

// mostData is what the kernel takes of a mount's options: less than a page.
const mostData = 4000

// overlay has nothing to write to where it is read-only: its layers are looked at only,
// so that it may be mounted elsewhere too.
func overlay(options []string, readOnly bool) (mounting, error) {
	out := mounting{kind: "overlay", source: "overlay"}
	var upper string
	var lower, rest []string
	for _, option := range options {
		key, value, _ := strings.Cut(option, "=")
		switch {
		case key == "upperdir":
			upper = value
		case key == "lowerdir":
			lower = strings.Split(value, ":")
		case key == "ro":
			out.flags |= unix.MS_RDONLY
		case key == "workdir" && readOnly:
		default:
			rest = append(rest, option)
		}
	}
	if readOnly {
		out.flags |= unix.MS_RDONLY
		if upper != "" {
			lower = append([]string{upper}, lower...)
		}
	} else if upper != "" {
		rest = append(rest, "upperdir="+upper)
	}
	data := func() string {
		return strings.Join(append([]string{"lowerdir=" + strings.Join(lower, ":")}, rest...), ",")
	}
	out.data = data()
	if len(out.data) > mostData && len(lower) > 0 {
		// The layers are folders of one folder.
		out.from = filepath.Dir(filepath.Dir(lower[0]))
		for n, dir := range lower {
			relative, err := filepath.Rel(out.from, dir)
			if err != nil {
				return out, err
			}
			lower[n] = relative
		}
		out.data = data()
	}
	if len(out.data) > mostData {
		return out, resource.Unsupported("files", "the root filesystem has more layers than can be mounted here")
	}
	return out, nil
}

// apart mounts in a new mount namespace of this thread.
func (m mounting) apart(place string) (*os.File, error) {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return nil, os.NewSyscallError("unshare", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, os.NewSyscallError("mount", err)
	}
	if m.from != "" {
		if err := unix.Chdir(m.from); err != nil {
			return nil, os.NewSyscallError("chdir", err)
		}
	}
	if err := unix.Mount(m.source, place, m.kind, m.flags, m.data); err != nil {
		return nil, os.NewSyscallError("mount", err)
	}
	if m.readOnly {
		if err := unix.Mount("", place, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			return nil, os.NewSyscallError("mount", err)
		}
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, place, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if errors.Is(err, unix.ENOSYS) {
		return nil, resource.Unsupported("files", "the kernel is older than 5.2")
	}
	if err != nil {
		return nil, os.NewSyscallError("open_tree", err)
	}
	return os.NewFile(uintptr(fd), "root"), nil
}
