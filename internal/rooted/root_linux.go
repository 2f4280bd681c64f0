package rooted

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Root is a directory below which files are read and written. Its methods may be called
// concurrently. They need /proc.
type Root struct{ dir *os.File }

// New returns the root that a directory is, which may have been opened with O_PATH, and
// which Close closes.
func New(dir *os.File) *Root { return &Root{dir} }

// Close closes the directory. Files that were opened stay open.
func (r *Root) Close() error { return r.dir.Close() }

const (
	// inRoot follows links as a process does whose root it is, but for those of /proc
	// that lead anywhere.
	inRoot = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS
	// beneath refuses those that lead out of the directory.
	beneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS
)

// openAt opens a path below a directory. Where something on the way is renamed at the
// same moment it looks again, as openat2 asks for.
func openAt(dir int, name string, flags, resolve uint64) (int, error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: resolve}
	for tries := 0; ; tries++ {
		fd, err := unix.Openat2(dir, name, &how)
		if err == nil || !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) || tries > 100 {
			return fd, err
		}
	}
}

// read opens for reading what a descriptor of O_PATH stands for: a regular file or a
// directory, so that opening it has no effect.
func read(fd int, flags int) (*os.File, error) {
	opened, err := unix.Open("/proc/self/fd/"+strconv.Itoa(fd), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|flags, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(opened), "file"), nil
}

// Open opens a file or directory for reading, as fs.FS has it: links are followed within
// the root. What is neither can be looked at, and not read. The context bounds the use of
// the file.
func (r *Root) Open(ctx context.Context, name string) (fs.File, error) {
	fail := func(err error) (fs.File, error) { return nil, &fs.PathError{Op: "open", Path: name, Err: err} }
	if !fs.ValidPath(name) {
		return fail(fs.ErrInvalid)
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	fd, err := openAt(int(r.dir.Fd()), name, unix.O_PATH, inRoot)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fail(err)
	}
	f := &file{ctx: ctx, info: infoOf(path.Base(name), &st)}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		f.content, err = read(fd, 0)
	case unix.S_IFDIR:
		f.content, err = read(fd, unix.O_DIRECTORY)
	}
	if err != nil {
		return fail(err)
	}
	if f.info.IsDir() {
		return &directory{file: f}, nil
	}
	return f, nil
}

// file is a file that was opened; content is nil where it cannot be read.
type file struct {
	ctx     context.Context
	info    info
	content *os.File
}

var errNoContent = errors.New("is no regular file")

// usable says why nothing can be read.
func (f *file) usable(op string) error {
	err := f.ctx.Err()
	if err == nil && f.content == nil {
		err = errNoContent
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: f.info.name, Err: err}
	}
	return nil
}

func (f *file) Stat() (fs.FileInfo, error) { return f.info, nil }

func (f *file) Read(b []byte) (int, error) {
	if err := f.usable("read"); err != nil {
		return 0, err
	}
	return f.content.Read(b)
}

// ReadAt implements io.ReaderAt.
func (f *file) ReadAt(b []byte, at int64) (int, error) {
	if err := f.usable("read"); err != nil {
		return 0, err
	}
	return f.content.ReadAt(b, at)
}

// Seek implements io.Seeker.
func (f *file) Seek(offset int64, whence int) (int64, error) {
	if err := f.usable("seek"); err != nil {
		return 0, err
	}
	return f.content.Seek(offset, whence)
}

func (f *file) Close() error {
	if f.content == nil {
		return nil
	}
	return f.content.Close()
}

// directory lists what it held when it was first read.
type directory struct {
	*file
	listed bool
	left   []fs.DirEntry
}

// ReadDir implements fs.ReadDirFile, in the order of the names.
func (d *directory) ReadDir(n int) ([]fs.DirEntry, error) {
	if err := d.usable("readdir"); err != nil {
		return nil, err
	}
	if !d.listed {
		names, err := names(d.content)
		if err != nil {
			return nil, &fs.PathError{Op: "readdir", Path: d.info.name, Err: err}
		}
		for _, name := range names {
			var st unix.Stat_t
			err := unix.Fstatat(int(d.content.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
			if errors.Is(err, unix.ENOENT) {
				continue // it is gone meanwhile
			}
			if err != nil {
				return nil, &fs.PathError{Op: "readdir", Path: path.Join(d.info.name, name), Err: err}
			}
			d.left = append(d.left, fs.FileInfoToDirEntry(infoOf(name, &st)))
		}
		d.listed = true
	}
	if n <= 0 {
		n = len(d.left)
	} else if len(d.left) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.left))
	out := d.left[:n:n]
	d.left = d.left[n:]
	return out, nil
}

// Read implements fs.File.
func (d *directory) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.info.name, Err: unix.EISDIR}
}

// names lists a directory in order.
func names(dir *os.File) ([]string, error) {
	list, err := dir.Readdirnames(-1)
	slices.Sort(list)
	return list, err
}

// info is what is known of a file.
type info struct {
	name     string
	size     int64
	mode     fs.FileMode
	modified time.Time
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return i.modified }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }

func infoOf(name string, st *unix.Stat_t) info {
	mode := fs.FileMode(st.Mode & 0o777)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		mode |= fs.ModeDir
	case unix.S_IFLNK:
		mode |= fs.ModeSymlink
	case unix.S_IFIFO:
		mode |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		mode |= fs.ModeSocket
	case unix.S_IFBLK:
		mode |= fs.ModeDevice
	case unix.S_IFCHR:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	}
	for bit, flag := range map[uint32]fs.FileMode{unix.S_ISUID: fs.ModeSetuid, unix.S_ISGID: fs.ModeSetgid, unix.S_ISVTX: fs.ModeSticky} {
		if st.Mode&bit != 0 {
			mode |= flag
		}
	}
	return info{name: name, size: st.Size, mode: mode, modified: time.Unix(st.Mtim.Unix())}
}
