package logfile

import (
	"os"

	"golang.org/x/sys/unix"
)

func identityOf(f *os.File) (Identity, error) {
	var s unix.Statx_t
	if err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_BTIME, &s); err != nil {
		return Identity{}, os.NewSyscallError("statx", err)
	}
	id := Identity{Inode: s.Ino}
	if s.Mask&unix.STATX_BTIME != 0 {
		id.Born = s.Btime.Sec*1e9 + int64(s.Btime.Nsec)
	}
	return id, nil
}
