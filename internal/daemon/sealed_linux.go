package daemon

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// sealed runs start with every descriptor that this program inherited, or that
// C code in it opened, marked close-on-exec. Go's own always are. Without this
// a daemon that outlives the program would for ever hold what was handed to the
// program for its own use, such as a lock of the script that started it.
func sealed(start func() error) error {
	for _, fd := range inheritable() {
		unix.CloseOnExec(fd)
		defer restore(fd, inode(fd))
	}
	return start()
}

// restore makes a descriptor inheritable again, unless it was closed and its
// number has been used anew.
func restore(fd int, was unix.Stat_t) {
	if now := inode(fd); now.Dev == was.Dev && now.Ino == was.Ino {
		_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
	}
}

func inode(fd int) unix.Stat_t {
	var stat unix.Stat_t
	_ = unix.Fstat(fd, &stat)
	return stat
}

func inheritable() []int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil
	}
	var fds []int
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd <= 2 {
			continue
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC == 0 {
			fds = append(fds, fd)
		}
	}
	return fds
}
