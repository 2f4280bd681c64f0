package libvirt

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// nextData finds where a file has data next, and where that ends; the file's end where
// there is none.
func nextData(f *os.File, at int64) (data, hole int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	end := max(at, info.Size())
	data, err = unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return end, end, nil
	case errors.Is(err, unix.EINVAL):
		return at, end, nil // the filesystem cannot tell
	case err != nil:
		return 0, 0, err
	}
	hole, err = unix.Seek(int(f.Fd()), data, unix.SEEK_HOLE)
	return data, hole, err
}
