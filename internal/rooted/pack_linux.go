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
	"time"

	"golang.org/x/sys/unix"

	"github.com/univirt/univirt/internal/archives"
)

// capability is the extended attribute that keeps a program's capabilities, which is
// copied with it; others are not.
const (
	capability       = "security.capability"
	capabilityRecord = "SCHILY.xattr." + capability
)

// copyBuffer is how much of a file is copied at a time.
const copyBuffer = 256 << 10

// Find opens what is at a path, a link itself, for Pack. The caller closes it.
func (r *Root) Find(name string) (*os.File, error) {
	fd, err := openAt(int(r.dir.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW, inRoot)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// Pack writes a tar archive of what Find has found, with all that is below it, to w. The
// names in it begin with the one given. Sockets are left out, and what changes meanwhile
// is as it is found.
func Pack(ctx context.Context, w io.Writer, found *os.File, name string, noOwner bool) error {
	out := bufio.NewWriterSize(w, copyBuffer)
	p := packer{ctx: ctx, w: tar.NewWriter(out), noOwner: noOwner, first: map[inode]string{}, buffer: make([]byte, copyBuffer)}
	err := p.add(int(found.Fd()), name)
	if err == nil {
		err = p.w.Close()
	}
	if err == nil {
		err = out.Flush()
	}
	return err
}

type inode struct{ dev, ino uint64 }

type packer struct {
	ctx     context.Context
	w       *tar.Writer
	noOwner bool
	// first are the names under which files of several names are already in the archive.
	first  map[inode]string
	buffer []byte
}

// add writes what a descriptor of O_PATH stands for.
func (p *packer) add(fd int, name string) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	fail := func(err error) error { return &fs.PathError{Op: "copy", Path: name, Err: err} }
	if len(name) > archives.MostPath {
		return fail(unix.ENAMETOOLONG)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fail(err)
	}
	h := &tar.Header{
		Name: name, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Sec, 0), Format: tar.FormatPAX,
	}
	if p.noOwner {
		h.Uid, h.Gid = 0, 0
	}
	kind := st.Mode & unix.S_IFMT
	if key := (inode{st.Dev, st.Ino}); kind != unix.S_IFDIR && st.Nlink > 1 {
		if first, seen := p.first[key]; seen {
			h.Typeflag, h.Linkname = tar.TypeLink, first
			return p.w.WriteHeader(h)
		}
		p.first[key] = name
	}
	switch kind {
	case unix.S_IFREG:
		return p.file(fd, &st, h)
	case unix.S_IFDIR:
		return p.directory(fd, h)
	case unix.S_IFLNK:
		target := make([]byte, archives.MostPath+1)
		n, err := unix.Readlinkat(fd, "", target)
		if err != nil {
			return fail(err)
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, string(target[:n])
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFBLK, unix.S_IFCHR:
		h.Typeflag = tar.TypeChar
		if kind == unix.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	default:
		return nil // a socket
	}
	return p.w.WriteHeader(h)
}

// file writes a regular file as long as it was when it was found.
func (p *packer) file(fd int, st *unix.Stat_t, h *tar.Header) error {
	fail := func(err error) error { return &fs.PathError{Op: "copy", Path: h.Name, Err: err} }
	f, err := read(fd, 0)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = f.Close() }()
	value := make([]byte, 64)
	if n, err := unix.Fgetxattr(int(f.Fd()), capability, value); err == nil && n > 0 {
		h.PAXRecords = map[string]string{capabilityRecord: string(value[:n])}
	}
	h.Typeflag, h.Size = tar.TypeReg, st.Size
	if err := p.w.WriteHeader(h); err != nil {
		return err
	}
	for left := st.Size; left > 0; {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		piece := p.buffer[:min(left, copyBuffer)]
		n, err := f.Read(piece)
		if err != nil && !errors.Is(err, io.EOF) {
			return fail(err)
		}
		if n == 0 {
			// It was cut meanwhile.
			clear(piece)
			n = len(piece)
		}
		if _, err := p.w.Write(piece[:n]); err != nil {
			return err
		}
		left -= int64(n)
	}
	return nil
}

func (p *packer) directory(fd int, h *tar.Header) error {
	fail := func(err error) error { return &fs.PathError{Op: "copy", Path: h.Name, Err: err} }
	name := h.Name
	h.Typeflag, h.Name = tar.TypeDir, name+"/"
	if err := p.w.WriteHeader(h); err != nil {
		return err
	}
	dir, err := read(fd, unix.O_DIRECTORY)
	if err != nil {
		return fail(err)
	}
	inside, err := names(dir)
	_ = dir.Close()
	if err != nil {
		return fail(err)
	}
	for _, inner := range inside {
		child, err := unix.Openat(fd, inner, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) {
			continue // it is gone meanwhile
		}
		if err != nil {
			return fail(err)
		}
		err = p.add(child, path.Join(name, inner))
		_ = unix.Close(child)
		if err != nil {
			return err
		}
	}
	return nil
}
