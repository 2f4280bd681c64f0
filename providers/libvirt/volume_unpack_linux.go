package libvirt

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// unpackTree unpacks an archive into an empty folder, and returns what it says of the
// folder itself, nil for nothing. Names lead nowhere but below the folder, by links of the
// archive neither. Files that hold more than size bytes are ResourceExhausted; what is
// zero for long becomes a hole.
func unpackTree(r io.Reader, dir string, size int64) (own *tar.Header, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	u := &untree{root: root, room: newUnpackRoom(size)}
	if err := eachEntry(r, u.room, u.write); err != nil {
		return nil, err
	}
	// What is written into a folder changes its time, and needs its permission.
	for _, h := range u.folders {
		if h.Name == "." {
			own = h
		}
		if err := u.dress(h); err != nil {
			return nil, unpackError(h.Name, err)
		}
	}
	return own, nil
}

type untree struct {
	root *os.Root
	room *unpackRoom
	// folders are those that were made, in that order.
	folders []*tar.Header
}

// folder opens a folder, which is made where it is missing.
func (u *untree) folder(name string) (*os.File, error) {
	const flags = unix.O_DIRECTORY | os.O_RDONLY
	f, err := u.root.OpenFile(name, flags, 0)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if err := u.makeFolder(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}); err != nil {
		return nil, err
	}
	return u.root.OpenFile(name, flags, 0)
}

func (u *untree) makeFolder(h *tar.Header) error {
	in, err := u.folder(path.Dir(h.Name))
	if err != nil {
		return err
	}
	defer in.Close()
	u.folders = append(u.folders, h)
	return unix.Mkdirat(int(in.Fd()), path.Base(h.Name), 0o700)
}

// write unpacks an entry. A file or link that is there is replaced; a folder is kept, also
// one that a link leads to.
func (u *untree) write(h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeDir {
		if info, err := u.root.Stat(h.Name); err == nil && info.IsDir() {
			u.folders = append(u.folders, h)
			return nil
		}
	}
	in, err := u.folder(path.Dir(h.Name))
	if err != nil {
		return err
	}
	defer in.Close()
	base := path.Base(h.Name)
	if h.Typeflag == tar.TypeLink {
		return u.link(h, in, base)
	}
	if err := unix.Unlinkat(int(in.Fd()), base, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return u.makeFolder(h)
	case tar.TypeReg:
		err = u.file(h, in, base, content)
	case tar.TypeSymlink:
		err = unix.Symlinkat(h.Linkname, int(in.Fd()), base)
	case tar.TypeFifo:
		err = unix.Mknodat(int(in.Fd()), base, unix.S_IFIFO|0o600, 0)
	case tar.TypeChar:
		err = unix.Mknodat(int(in.Fd()), base, unix.S_IFCHR|0o600, int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))))
	case tar.TypeBlock:
		err = unix.Mknodat(int(in.Fd()), base, unix.S_IFBLK|0o600, int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))))
	}
	if err != nil {
		return err
	}
	return dressIn(h, in, base)
}

// link gives a file that was unpacked another name.
func (u *untree) link(h *tar.Header, in *os.File, base string) error {
	from, err := u.root.OpenFile(path.Dir(h.Linkname), unix.O_DIRECTORY|os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	var old, there unix.Stat_t
	if err := unix.Fstatat(int(from.Fd()), path.Base(h.Linkname), &old, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if old.Mode&unix.S_IFMT == unix.S_IFDIR {
		return errors.New("is a link to a folder")
	}
	err = unix.Fstatat(int(in.Fd()), base, &there, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case err == nil && there.Ino == old.Ino && there.Dev == old.Dev:
		return nil
	case err == nil:
		err = unix.Unlinkat(int(in.Fd()), base, 0)
	case errors.Is(err, unix.ENOENT):
		err = nil
	}
	if err != nil {
		return err
	}
	return unix.Linkat(int(from.Fd()), path.Base(h.Linkname), int(in.Fd()), base, 0)
}

// holePiece is what is looked at for zeros.
const holePiece = 64 << 10

// file writes a file.
func (u *untree) file(h *tar.Header, in *os.File, base string, content io.Reader) error {
	if u.room.length -= h.Size; u.room.length < 0 {
		return u.room.exhausted()
	}
	fd, err := unix.Openat(int(in.Fd()), base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), base)
	defer f.Close()
	piece := make([]byte, min(h.Size, holePiece))
	for at := int64(0); at < h.Size; {
		n, err := io.ReadFull(content, piece[:min(h.Size-at, holePiece)])
		if err != nil {
			return err
		}
		if !allZero(piece[:n]) {
			if u.room.bytes -= int64(n); u.room.bytes < 0 {
				return u.room.exhausted()
			}
			if _, err := f.WriteAt(piece[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
	}
	if err := f.Truncate(h.Size); err != nil {
		return err
	}
	return f.Close()
}

// dress gives a folder what its header says.
func (u *untree) dress(h *tar.Header) error {
	f, err := u.root.OpenFile(h.Name, unix.O_DIRECTORY|os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return dressIn(h, f, ".")
}

// dressIn gives what has a name in a folder what its header says: its owner first, as
// that takes permissions and attributes away.
func dressIn(h *tar.Header, in *os.File, base string) error {
	dir := int(in.Fd())
	if err := unix.Fchownat(dir, base, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("change the owner: %w", err)
	}
	if h.Typeflag != tar.TypeSymlink {
		if err := unix.Fchmodat(dir, base, uint32(h.Mode), 0); err != nil {
			return fmt.Errorf("change the mode: %w", err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		at := fmt.Sprintf("/proc/self/fd/%d/%s", dir, base)
		if err := unix.Lsetxattr(at, name, []byte(h.PAXRecords[name]), 0); err != nil {
			return fmt.Errorf("set the attribute %q: %w", name, err)
		}
	}
	if h.ModTime.IsZero() {
		return nil
	}
	stamp := unix.NsecToTimespec(extTime(h.ModTime).UnixNano())
	return unix.UtimesNanoAt(dir, base, []unix.Timespec{stamp, stamp}, unix.AT_SYMLINK_NOFOLLOW)
}
