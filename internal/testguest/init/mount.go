//go:build linux && amd64

package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// kernelMounts are the file systems that the kernel offers, in order of mounting.
var kernelMounts = []struct{ kind, path string }{
	{"proc", "/proc"},
	{"sysfs", "/sys"},
	{"devtmpfs", "/dev"},
	{"devpts", "/dev/pts"},
	{"tmpfs", "/run"},
	{"tmpfs", "/tmp"},
}

func mountKernel() error {
	for _, m := range kernelMounts {
		if err := os.MkdirAll(m.path, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.path, m.kind, 0, ""); err != nil {
			return fmt.Errorf("%s: %w", m.path, err)
		}
	}
	return os.Chmod("/tmp", 0o777|os.ModeSticky)
}

// changeRoot makes the file system on a block device the root, and takes what is
// mounted along.
func changeRoot(device string) error {
	const at = "/newroot"
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	if err := mountSoon(device, at); err != nil {
		return err
	}
	for _, m := range kernelMounts {
		if m.path == "/dev/pts" {
			continue // It moves with /dev.
		}
		if err := os.MkdirAll(at+m.path, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.path, at+m.path, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s: %w", m.path, err)
		}
	}
	if err := os.Chdir(at); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return err
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	return os.Chdir("/")
}

// mountSoon waits for a device that is still being found: a SCSI bus is scanned
// in the background.
func mountSoon(device, at string) error {
	for deadline := time.Now().Add(5 * time.Second); ; {
		err := unix.Mount(device, at, "ext4", 0, "")
		if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENXIO) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}
