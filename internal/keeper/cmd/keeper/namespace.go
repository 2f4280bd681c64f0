//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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

// enter moves this thread into the namespaces in which something still runs for the
// folder, else into new ones.
func (s space) enter() error {
	// What is shared with other threads cannot get a root of its own.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare the root folder: %w", err)
	}
	if joined, err := s.rejoin(); joined || err != nil {
		return err
	}
	flags := unix.CLONE_NEWNS
	if s.network {
		flags |= unix.CLONE_NEWNET
	}
	if err := unix.Unshare(flags); err != nil {
		return fmt.Errorf("unshare namespaces: %w", err)
	}
	// What the host mounts and unmounts later is to be seen in here, not the other
	// way round.
	if err := mount("", "/", unix.MS_SLAVE|unix.MS_REC); err != nil {
		return err
	}
	if s.network {
		if err := s.furnish(); err != nil {
			return err
		}
	}
	return s.bind()
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

// rejoin moves this thread into the namespaces of a process that sees our folder in
// the place of the host's.
func (s space) rejoin() (bool, error) {
	run, err := os.Stat(filepath.Join(s.dir, "run"))
	if err != nil {
		return false, err
	}
	pids, err := processes()
	if err != nil {
		return false, err
	}
	for _, pid := range pids {
		seen, err := os.Stat(procPath(pid, "root"+runFolder))
		if err != nil || !os.SameFile(seen, run) {
			continue
		}
		// One that is ending has no namespaces any more.
		if err := join(pid); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
			return true, err
		}
	}
	return false, nil
}

// join moves this thread into the namespaces of a process, into both or none.
func join(pid int) error {
	network, err := os.Open(procPath(pid, "ns/net"))
	if err != nil {
		return err
	}
	defer func() { _ = network.Close() }()
	mounts, err := os.Open(procPath(pid, "ns/mnt"))
	if err != nil {
		return err
	}
	defer func() { _ = mounts.Close() }()
	if err := unix.Setns(int(network.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter %s: %w", network.Name(), err)
	}
	if err := unix.Setns(int(mounts.Fd()), unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("enter %s: %w", mounts.Name(), err)
	}
	return nil
}

// inhabited says whether a process other than these is in our mount namespace.
func inhabited(known ...int) (bool, error) {
	own, err := os.Readlink("/proc/thread-self/ns/mnt")
	if err != nil {
		return false, err
	}
	pids, err := processes()
	if err != nil {
		return false, err
	}
	for _, pid := range pids {
		ns, err := os.Readlink(procPath(pid, "ns/mnt"))
		if err == nil && ns == own && !slices.Contains(known, pid) {
			return true, nil
		}
	}
	return false, nil
}

func processes() (pids []int, err error) {
	entries, err := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, err
}

func procPath(pid int, name string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), name)
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
