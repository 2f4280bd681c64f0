//go:build linux && (amd64 || arm64)

package main

import (
	"io"
	"os"
	"syscall"

	"github.com/univirt/univirt/providers/providertest/guest"
)

// disk is what lies below the file tree of the process.
type disk struct{}

var _ guest.Disk = disk{}

func (disk) Fill(path string, bytes int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(f, guest.Flood("stdout", bytes)); err != nil {
		return err
	}
	return f.Sync()
}

func (disk) Drain(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	// The kernel forgets what is on the disk, and nothing else.
	if err := f.Sync(); err != nil {
		return err
	}
	const dontNeed = 4 // POSIX_FADV_DONTNEED
	if _, _, errno := syscall.Syscall6(syscall.SYS_FADVISE64, f.Fd(), 0, 0, dontNeed, 0, 0); errno != 0 {
		return errno
	}
	_, err = io.Copy(io.Discard, f)
	return err
}
