//go:build linux && (amd64 || arm64)

// Guest is the program inside the test image: the sub commands of package guest
// on a Linux process. It links the standard library only and needs neither a
// shell nor a C library, so that it is all that an image must hold.
package main

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"syscall"

	"github.com/univirt/univirt/providers/providertest/guest"
)

func main() {
	signals := notify() // first of all: until then a signal meets Go's own handling
	dir, err := os.Getwd()
	if err != nil {
		dir = "/"
	}
	groups, err := os.Getgroups()
	if err != nil {
		groups = nil
	}
	var dialer net.Dialer
	os.Exit(guest.Main(context.Background(), guest.Env{
		Args:         os.Args,
		Environ:      os.Environ(),
		Dir:          dir,
		User:         guest.User{UID: os.Getuid(), GID: os.Getgid(), Groups: groups},
		PID:          os.Getpid(),
		Stdin:        os.Stdin,
		Stdout:       os.Stdout,
		Stderr:       os.Stderr,
		TTY:          [3]bool{isTerminal(0), isTerminal(1), isTerminal(2)},
		Size:         windowSize,
		Signals:      signals,
		Raise:        raise,
		Files:        files{},
		Disk:         disk{},
		Hostname:     os.Hostname,
		Listen:       net.Listen,
		ListenPacket: net.ListenPacket,
		Dial:         dialer.DialContext,
		LookupHost:   net.DefaultResolver.LookupHost,
		Alloc:        alloc,
		Spawn:        spawn,
		Hardening:    examine,
	}))
}

// files is the file tree of the process.
type files struct{}

var _ guest.Files = files{}

func (files) ReadFile(path string) ([]byte, error)       { return os.ReadFile(path) }
func (files) ReadDir(path string) ([]fs.DirEntry, error) { return os.ReadDir(path) }
func (files) Stat(path string) (fs.FileInfo, error)      { return os.Lstat(path) }
func (files) WriteFile(path string, data []byte, perm fs.FileMode) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		// What is no file of a disk, as of the kernel's settings, says EINVAL.
		if err = file.Sync(); errors.Is(err, syscall.EINVAL) {
			err = nil
		}
	}
	return errors.Join(err, file.Close())
}

// spawn starts this binary again. The child is not waited for: it becomes the
// child of whatever adopts orphans when this process ends.
func spawn(args ...string) error {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	child, err := os.StartProcess("/proc/self/exe", append([]string{os.Args[0]}, args...), &os.ProcAttr{
		Files: []*os.File{null, os.Stdout, os.Stderr},
	})
	if err != nil {
		return err
	}
	return child.Release()
}
