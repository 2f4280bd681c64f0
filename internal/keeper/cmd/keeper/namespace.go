//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	runFolder    = "/run/libvirt"
	pidFile      = runFolder + "/libvirtd.pid"
	loggerSocket = "virtlogd-sock"
)

// binds are the folders that libvirt was built for, and what stands for them in
// the private folder.
var binds = []struct{ source, target string }{
	{"run", runFolder},
	{"lib", "/var/lib/libvirt"},
	{"cache", "/var/cache/libvirt"},
	{"log", "/var/log/libvirt"},
	{"etc", "/etc/libvirt"},
}

// space is where a private libvirtd runs.
type space struct {
	dir     string
	hideKVM bool
	network bool // one of its own
}

// enter moves this thread into the namespaces of the log daemon that runs for the
// folder, whose pid it returns, else into new ones.
func (s space) enter() (logger int, err error) {
	// What is shared with other threads cannot get a root of its own.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return 0, fmt.Errorf("unshare the root folder: %w", err)
	}
	if logger = s.logger(); logger != 0 {
		return logger, join(logger)
	}
	flags := unix.CLONE_NEWNS
	if s.network {
		flags |= unix.CLONE_NEWNET
	}
	if err := unix.Unshare(flags); err != nil {
		return 0, fmt.Errorf("unshare namespaces: %w", err)
	}
	// What the host mounts and unmounts later is to be seen in here, not the other
	// way round.
	if err := mount("", "/", unix.MS_SLAVE|unix.MS_REC); err != nil {
		return 0, err
	}
	if s.network {
		if err := s.furnish(); err != nil {
			return 0, err
		}
	}
	return 0, s.bind()
}

// bind puts the private folders in the place of the host's.
func (s space) bind() error {
	for _, b := range binds {
		// Package and boot make them, save where the system's libvirtd never ran.
		if err := os.MkdirAll(b.target, 0o755); err != nil {
			return err
		}
		if err := mount(filepath.Join(s.dir, b.source), b.target, unix.MS_BIND); err != nil {
			return err
		}
	}
	// Whoever is on the system's bus would be told of our VMs, by names that those
	// of another libvirtd may have too.
	err := cover(filepath.Join(s.dir, "empty"), "/run/dbus")
	if err == nil && s.hideKVM {
		err = cover(filepath.Join(s.dir, "nothing"), "/dev/kvm")
	}
	return err
}

func cover(source, target string) error {
	if _, err := os.Stat(target); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return mount(source, target, unix.MS_BIND)
}

func mount(source, target string, flags uintptr) error {
	if err := unix.Mount(source, target, "", flags, ""); err != nil {
		return fmt.Errorf("mount %s on %s: %w", source, target, err)
	}
	return nil
}

// furnish sets up a new network namespace: loopback, and a /sys that shows its
// links and no longer the host's.
func (s space) furnish() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("loopback up: %w", err)
	}
	const cgroups = "/sys/fs/cgroup"
	kept := filepath.Join(s.dir, "empty")
	if err := mount(cgroups, kept, unix.MS_BIND|unix.MS_REC); err != nil {
		return err
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	return mount(kept, cgroups, unix.MS_MOVE)
}

// logger is the pid of the log daemon that listens in the folder, or 0.
func (s space) logger() int {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer func() { _ = unix.Close(fd) }()
	path := filepath.Join(s.dir, "run", loggerSocket)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return 0
	}
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0
	}
	return int(peer.Pid)
}

// join moves this thread into the namespaces of a process.
func join(pid int) error {
	var files []*os.File
	kinds := []int{unix.CLONE_NEWNET, unix.CLONE_NEWNS}
	for _, name := range []string{"net", "mnt"} {
		f, err := os.Open(filepath.Join("/proc", strconv.Itoa(pid), "ns", name))
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		files = append(files, f)
	}
	for i, f := range files {
		if err := unix.Setns(int(f.Fd()), kinds[i]); err != nil {
			return fmt.Errorf("enter %s: %w", f.Name(), err)
		}
	}
	return nil
}

// inhabitants says whether a process other than these is in our mount namespace.
func inhabitants(known ...int) (bool, error) {
	own, err := os.Readlink("/proc/thread-self/ns/mnt")
	if err != nil {
		return false, err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return false, err
	}
next:
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		for _, k := range known {
			if pid == k {
				continue next
			}
		}
		// A process that has ended has no namespaces any more.
		if ns, err := os.Readlink(filepath.Join("/proc", e.Name(), "ns", "mnt")); err == nil && ns == own {
			return true, nil
		}
	}
	return false, nil
}

// awaitUnlocked waits until nobody holds the lock of a pid file.
func awaitUnlocked(path string, most time.Duration) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for end := time.Now().Add(most); ; {
		lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
		if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock); err != nil {
			return err
		}
		if lock.Type == unix.F_UNLCK {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: another libvirtd, process %d, holds it", path, lock.Pid)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
