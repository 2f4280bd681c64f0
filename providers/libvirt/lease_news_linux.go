package libvirt

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// watchFolder returns what can be read from whenever a file is put into a folder. What
// is read means nothing.
func watchFolder(dir string) (io.ReadCloser, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MOVED_TO|unix.IN_CLOSE_WRITE|unix.IN_ONLYDIR); err != nil {
		_ = events.Close()
		return nil, os.NewSyscallError("inotify_add_watch", err)
	}
	return events, nil
}
