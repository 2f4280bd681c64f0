package rooted

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/univirt/univirt/resource"
)

// Unpack writes an archive that Spool has let through below a directory of the root.
// Folders that are missing on the way are made; files and links that are there are
// replaced, and folders never. A link that is there already and leads out of the
// directory is InvalidArgument. With noOwner root owns everything.
func (r *Root) Unpack(ctx context.Context, dir string, archive io.Reader, noOwner bool) error {
	base, err := openAt(int(r.dir.Fd()), dir, unix.O_PATH|unix.O_DIRECTORY, inRoot)
	if err != nil {
		return At("dir", &fs.PathError{Op: "open", Path: dir, Err: err})
	}
	u := unpacker{base: base, resolve: beneath, noOwner: noOwner, buffer: make([]byte, copyBuffer), parent: parent{fd: -1}}
	defer u.close()
	if path.Clean(dir) == "/" {
		// Nothing leads out of the root.
		u.resolve = inRoot
	}
	for tr := tar.NewReader(bufio.NewReaderSize(archive, copyBuffer)); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return u.settle()
		}
		if err != nil {
			return resource.Errorf(errdefs.ErrInvalidArgument, "the archive is broken: %w", err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if err := u.write(ctx, h, tr); err != nil {
			return u.explain(h.Name, err)
		}
	}
}

type unpacker struct {
	base    int
	resolve uint64
	noOwner bool
	buffer  []byte
	// parent is the folder of the last entry.
	parent parent
	// folders get their times at the end: what is written into one changes it.
	folders []folder
}

type parent struct {
	name string
	fd   int
}

type folder struct {
	name string
	time time.Time
}

func (u *unpacker) close() {
	u.forget()
	_ = unix.Close(u.base)
}

// forget is called where a name may mean something else from now on.
func (u *unpacker) forget() {
	if u.parent.fd >= 0 {
		_ = unix.Close(u.parent.fd)
	}
	u.parent = parent{fd: -1}
}

func (u *unpacker) explain(name string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	kind := kindOf(err)
	if errors.Is(kind, errdefs.ErrNotFound) || errors.Is(kind, errdefs.ErrPermissionDenied) {
		kind = errdefs.ErrInvalidArgument // of the archive, not of what was asked for
	}
	if errors.Is(err, unix.EXDEV) {
		err = errEscapes
	}
	return resource.Errorf(kind, "%s of the archive: %w", resource.Quote(name), err)
}

// in returns the folder of an entry, open until the next call, and the last part of its
// name.
func (u *unpacker) in(name string) (fd int, last string, err error) {
	dir, last := path.Dir(name), path.Base(name)
	if dir == "." {
		return u.base, last, nil
	}
	if u.parent.fd < 0 || u.parent.name != dir {
		fd, err := u.open(dir)
		if err != nil {
			return -1, "", err
		}
		u.forget()
		u.parent = parent{dir, fd}
	}
	return u.parent.fd, last, nil
}

// open opens a folder below the base, and makes it where it is missing. The caller closes
// it.
func (u *unpacker) open(dir string) (int, error) {
	const flags = unix.O_PATH | unix.O_DIRECTORY
	fd, err := openAt(u.base, dir, flags, u.resolve)
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	above := u.base
	if p := path.Dir(dir); p != "." {
		if above, err = u.open(p); err != nil {
			return -1, err
		}
		defer func() { _ = unix.Close(above) }()
	}
	if err := unix.Mkdirat(above, path.Base(dir), 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, err
	}
	return openAt(u.base, dir, flags, u.resolve)
}

func (u *unpacker) write(ctx context.Context, h *tar.Header, content io.Reader) error {
	name := path.Clean(h.Name)
	if h.Typeflag == tar.TypeDir {
		return u.directory(name, h)
	}
	in, last, err := u.in(name)
	if err != nil {
		return err
	}
	u.forgetting(name)
	uid, gid := u.owner(h)
	switch h.Typeflag {
	case tar.TypeSymlink:
		err = u.replacing(in, last, func() error { return unix.Symlinkat(h.Linkname, in, last) })
		if err == nil {
			err = unix.Fchownat(in, last, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
		}
	case tar.TypeLink:
		return u.link(in, last, path.Clean(h.Linkname))
	default:
		err = u.file(ctx, in, last, h, content)
	}
	if err != nil {
		return err
	}
	return stamp(in, last, h.ModTime)
}

// forgetting forgets the parent where it was found by a name that is about to mean
// something else.
func (u *unpacker) forgetting(name string) {
	if u.parent.name == name || strings.HasPrefix(u.parent.name, name+"/") {
		u.forget()
	}
}

func (u *unpacker) owner(h *tar.Header) (uid, gid int) {
	if u.noOwner {
		return 0, 0
	}
	return h.Uid, h.Gid
}

// stamp sets the time of a file, or of a link itself.
func stamp(in int, last string, modified time.Time) error {
	at := unix.NsecToTimespec(modified.UnixNano())
	return unix.UtimesNanoAt(in, last, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
}

// replacing makes something where nothing may be, and takes away what is there first; a
// folder stays.
func (u *unpacker) replacing(in int, last string, create func() error) error {
	err := create()
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	if err := unix.Unlinkat(in, last, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return create()
}

func (u *unpacker) file(ctx context.Context, in int, last string, h *tar.Header, content io.Reader) (err error) {
	fd := -1
	err = u.replacing(in, last, func() (err error) {
		fd, err = unix.Openat(in, last, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), last)
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
		if err != nil {
			_ = unix.Unlinkat(in, last, 0)
		}
	}()
	for {
		n, readErr := content.Read(u.buffer)
		if _, err := f.Write(u.buffer[:n]); err != nil {
			return err
		}
		if errors.Is(readErr, io.EOF) {
			break
		}
		if readErr != nil {
			return readErr
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	uid, gid := u.owner(h)
	if err := f.Chown(uid, gid); err != nil {
		return err
	}
	// Behind the owner, whose change takes away what is special.
	if err := unix.Fchmod(fd, uint32(h.Mode)&0o7777); err != nil {
		return err
	}
	if value, ok := h.PAXRecords[capabilityRecord]; ok && !u.noOwner {
		return unix.Fsetxattr(fd, capability, []byte(value), 0)
	}
	return nil
}

// link gives a file another name.
func (u *unpacker) link(in int, last, to string) error {
	from := u.base
	if dir := path.Dir(to); dir != "." {
		fd, err := openAt(u.base, dir, unix.O_PATH|unix.O_DIRECTORY, u.resolve)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		from = fd
	}
	var old, there unix.Stat_t
	if err := unix.Fstatat(from, path.Base(to), &old, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if unix.Fstatat(in, last, &there, unix.AT_SYMLINK_NOFOLLOW) == nil && old.Dev == there.Dev && old.Ino == there.Ino {
		return nil
	}
	return u.replacing(in, last, func() error { return unix.Linkat(from, path.Base(to), in, last, 0) })
}

// directory makes a folder, or has the one that is there be as the archive says: one that
// a link beneath leads to, too.
func (u *unpacker) directory(name string, h *tar.Header) error {
	if name != "." {
		in, last, err := u.in(name)
		if err != nil {
			return err
		}
		err = unix.Mkdirat(in, last, 0o700)
		if errors.Is(err, unix.EEXIST) {
			err = u.clear(in, last)
		}
		if err != nil {
			return err
		}
	}
	fd, err := openAt(u.base, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, u.resolve)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	uid, gid := u.owner(h)
	if err := unix.Fchown(fd, uid, gid); err != nil {
		return err
	}
	u.folders = append(u.folders, folder{name, h.ModTime})
	return unix.Fchmod(fd, uint32(h.Mode)&0o7777)
}

// clear makes way for a folder: what is neither one nor a link goes.
func (u *unpacker) clear(in int, last string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(in, last, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR, unix.S_IFLNK:
		return nil
	}
	if err := unix.Unlinkat(in, last, 0); err != nil {
		return err
	}
	return unix.Mkdirat(in, last, 0o700)
}

// settle sets the times of folders, the innermost first.
func (u *unpacker) settle() error {
	for _, f := range slices.Backward(u.folders) {
		if f.name == "." {
			continue // it is older than the archive
		}
		in, last, err := u.in(f.name)
		if err == nil {
			err = stamp(in, last, f.time)
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return u.explain(f.name, err)
		}
	}
	return nil
}
