package ext4

import (
	"archive/tar"
	"bufio"
	"context"
	"fmt"
	"io"
	"path"
	"strings"
)

const (
	// mostPath is how long a path may be: nobody could unpack a longer one.
	mostPath = 4095
	// mostRemembered is how many bytes of the names of files with several are kept.
	mostRemembered = 256 << 20
	// mostSparse is how many times the filesystem's size its files may be altogether,
	// holes and all: a hole takes no room in it, and much in an archive.
	mostSparse = 64
	// foundName is the folder that e2fsck puts what it finds into.
	foundName = "lost+found"
	chunk     = 256 << 10
)

// Archive writes the tree as a POSIX archive: owners, modes, times, links of both kinds,
// devices, FIFOs and extended attributes. Holes are written as zeros. Sockets are left
// out, as is an empty lost+found, and what attributes are called whose names an archive
// cannot hold.
func (f *Filesystem) Archive(ctx context.Context, w io.Writer) error {
	if f.NeedsRecovery() {
		return unsupported("its journal was not written back")
	}
	buffered := bufio.NewWriterSize(w, chunk)
	a := &archiver{
		f: f, ctx: ctx, w: tar.NewWriter(buffered),
		folders: map[uint32]bool{}, names: map[uint32]string{}, left: mostSparse * uint64(f.size),
	}
	f.mapped = 0
	root, err := f.inode(rootInode)
	if err != nil {
		return err
	}
	if !root.folder() {
		return corrupt("its root is no folder")
	}
	if err := a.tree(".", root); err != nil {
		return err
	}
	if err := a.w.Close(); err != nil {
		return err
	}
	return buffered.Flush()
}

// archiver writes one archive.
type archiver struct {
	f   *Filesystem
	ctx context.Context
	w   *tar.Writer
	// folders are those that were met: none is in two places.
	folders map[uint32]bool
	// names are those of files that have several, which have so many bytes.
	names      map[uint32]string
	remembered int
	// held counts the names of the folders on the way to where this is.
	held int
	// left is how many bytes files may still have.
	left uint64
}

// tree writes a folder and what is in it. The path's bound is that of the depth, too.
func (a *archiver) tree(name string, i *inode) error {
	if a.folders[i.number] {
		return corrupt("the folder %q is inside of another place, too", name)
	}
	a.folders[i.number] = true
	entries, err := a.f.list(a.ctx, i, mostNames-a.held)
	if err != nil {
		return err
	}
	a.held += len(entries)
	defer func() { a.held -= len(entries) }()
	if name == foundName && len(entries) == 0 {
		return nil
	}
	if err := a.header(name, i, &tar.Header{Typeflag: tar.TypeDir}); err != nil {
		return err
	}
	for _, e := range entries {
		inner := path.Join(name, e.name)
		if len(inner) > mostPath {
			return unsupported("a path is longer than %d bytes", mostPath)
		}
		child, err := a.f.inode(e.inode)
		if err != nil {
			return err
		}
		if child.folder() {
			err = a.tree(inner, child)
		} else {
			err = a.file(inner, child)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// file writes what is no folder.
func (a *archiver) file(name string, i *inode) error {
	if first, ok := a.names[i.number]; ok {
		return a.header(name, i, &tar.Header{Typeflag: tar.TypeLink, Linkname: first})
	}
	h := &tar.Header{}
	switch i.kind() {
	case typeRegular:
		h.Typeflag, h.Size = tar.TypeReg, i.size
		if uint64(i.size) > a.left {
			return unsupported("the files are more than %d times as large as it is, as of %q", mostSparse, name)
		}
		a.left -= uint64(i.size)
	case typeLink:
		h.Typeflag = tar.TypeSymlink
		var err error
		if h.Linkname, err = a.f.target(i); err != nil {
			return err
		}
		if strings.ContainsRune(h.Linkname, 0) {
			return corrupt("the link %q leads nowhere", name)
		}
	case typeChar, typeBlock:
		h.Typeflag = tar.TypeChar
		if i.kind() == typeBlock {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = i.device()
	case typeFIFO:
		h.Typeflag = tar.TypeFifo
	case typeSocket:
		return nil
	default:
		return corrupt("%q is of no known type", name)
	}
	if err := a.remember(name, i); err != nil {
		return err
	}
	if err := a.header(name, i, h); err != nil || h.Typeflag != tar.TypeReg {
		return err
	}
	return a.content(i)
}

func (a *archiver) remember(name string, i *inode) error {
	if i.links < 2 {
		return nil
	}
	if a.remembered += len(name); a.remembered > mostRemembered {
		return unsupported("too many files have several names")
	}
	a.names[i.number] = name
	return nil
}

// header writes a header, which it completes.
func (a *archiver) header(name string, i *inode, h *tar.Header) error {
	if err := a.ctx.Err(); err != nil {
		return err
	}
	h.Name, h.Format = name, tar.FormatPAX
	if h.Typeflag == tar.TypeDir {
		h.Name += "/"
	}
	h.Mode, h.Uid, h.Gid, h.ModTime = i.permissions(), int(i.uid), int(i.gid), i.modified
	if h.Typeflag != tar.TypeLink {
		attributes, err := a.f.attributesOf(i)
		if err != nil {
			return err
		}
		for name, value := range attributes {
			if name == "" || strings.ContainsAny(name, "=\x00") {
				continue
			}
			if h.PAXRecords == nil {
				h.PAXRecords = map[string]string{}
			}
			h.PAXRecords["SCHILY.xattr."+name] = value
		}
	}
	if err := a.w.WriteHeader(h); err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	return nil
}

// content writes a file's bytes.
func (a *archiver) content(i *inode) error {
	var done int64
	err := a.f.extents(i, func(e extent) error {
		begin := min(int64(e.logical)*a.f.blockSize, i.size)
		end := min(int64(e.logical+e.count)*a.f.blockSize, i.size)
		if err := a.copy(zeros{}, begin-done); err != nil {
			return err
		}
		done = end
		if e.unwritten {
			return a.copy(zeros{}, end-begin)
		}
		at := a.f.offset(e.start)
		return a.copy(io.NewSectionReader(a.f.r, at, end-begin), end-begin)
	})
	if err == nil {
		err = a.copy(zeros{}, i.size-done)
	}
	return err
}

// copy writes so many bytes of a reader.
func (a *archiver) copy(r io.Reader, n int64) error {
	b := make([]byte, min(n, chunk))
	for n > 0 {
		if err := a.ctx.Err(); err != nil {
			return err
		}
		piece := b[:min(n, chunk)]
		if _, err := io.ReadFull(r, piece); err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if _, err := a.w.Write(piece); err != nil {
			return err
		}
		n -= int64(len(piece))
	}
	return nil
}

// zeros is a hole.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
