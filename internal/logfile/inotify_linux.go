package logfile

import (
	"encoding/binary"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

func openInotify() (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		// Too many open files usually means fs.inotify.max_user_instances.
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	return os.NewFile(uintptr(fd), "inotify"), nil
}

func addWatch(inotify *os.File, dir string) (int32, error) {
	const mask = unix.IN_MODIFY | unix.IN_CREATE | unix.IN_ONLYDIR
	raw, err := inotify.SyscallConn()
	if err != nil {
		return 0, err
	}
	var watch int
	var addErr error
	if err := raw.Control(func(fd uintptr) { watch, addErr = unix.InotifyAddWatch(int(fd), dir, mask) }); err != nil {
		return 0, err
	}
	if addErr != nil {
		return 0, &fs.PathError{Op: "inotify_add_watch", Path: dir, Err: addErr}
	}
	return int32(watch), nil
}

// removeWatch ends a watch. That the folder was deleted has ended it before.
func removeWatch(inotify *os.File, watch int32) {
	raw, err := inotify.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { _, _ = unix.InotifyRmWatch(int(fd), uint32(watch)) })
}

// readEvents reports the watch of each event, or all of them after an overflow,
// until inotify is closed.
func readEvents(inotify *os.File, report func(watch int32, all bool)) {
	buf := make([]byte, 16<<10)
	for {
		n, err := inotify.Read(buf)
		if err != nil {
			return
		}
		last := int32(-1)
		for events := buf[:n]; len(events) >= unix.SizeofInotifyEvent; {
			watch := int32(binary.NativeEndian.Uint32(events))
			mask := binary.NativeEndian.Uint32(events[4:])
			size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[12:]))
			events = events[min(size, len(events)):]
			if overflow := mask&unix.IN_Q_OVERFLOW != 0; overflow || watch != last {
				report(watch, overflow)
			}
			last = watch
		}
	}
}
