package fake

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/resource"
)

// entry is a file of an archive that has been read and looks harmless by itself.
type entry struct {
	// name is relative and clean; "." is the folder that is unpacked into.
	name string
	kind byte
	mode fs.FileMode
	uid  int
	gid  int
	time time.Time
	// target is what a link leads to.
	target  string
	content *content
}

// readArchive reads an archive whole, so that nothing is touched where it is
// broken or refused. Names that lead out, devices and what else does not belong
// into a file tree are InvalidArgument; more than room bytes of files, or more than
// this process will hold of one archive, are ResourceExhausted. moved, if not nil, is told how many bytes of the archive were
// read.
func readArchive(ctx context.Context, r io.Reader, room int64, moved func(n int64)) ([]entry, error) {
	in := &counting{ctx: ctx, r: r, moved: moved}
	tr := tar.NewReader(in)
	room = min(room, maxUnpacked)
	var entries []entry
	for {
		h, err := tr.Next()
		if err == io.EOF && in.total > 0 && in.zeros < archiveEnd {
			err = io.ErrUnexpectedEOF
		}
		if err == io.EOF {
			return entries, nil
		}
		if err != nil {
			return nil, in.explain(err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		e, err := newEntry(h)
		if err != nil {
			return nil, err
		}
		if e.kind == tar.TypeReg {
			if e.content, err = in.file(tr, h, room); err != nil {
				return nil, err
			}
			room -= e.content.size
		}
		if entries = append(entries, e); len(entries) > maxEntries {
			return nil, resource.Errorf(errdefs.ErrInvalidArgument, "the archive has more than %d files", maxEntries)
		}
	}
}

// archiveEnd is the number of zeros that an archive ends with. One without them was
// cut off, perhaps where nothing else would show it.
const archiveEnd = 1024

// maxEntries bounds what an archive of nothing but headers makes this process
// remember.
const maxEntries = 1 << 20

// newEntry checks what a header says.
func newEntry(h *tar.Header) (entry, error) {
	refuse := func(why string) (entry, error) {
		return entry{}, resource.Errorf(errdefs.ErrInvalidArgument, "the archive has %s, which %s", resource.Quote(h.Name), why)
	}
	e := entry{
		kind: h.Typeflag, mode: fileMode(uint32(h.Mode & 0o7777)), uid: h.Uid, gid: h.Gid, time: h.ModTime, target: h.Linkname,
	}
	var reason string
	if e.name, reason = harmlessName(h.Name); reason != "" {
		return refuse(reason)
	}
	if h.Uid < 0 || h.Gid < 0 || h.Size < 0 {
		return refuse("has a negative owner or size")
	}
	switch h.Typeflag {
	case tar.TypeDir:
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		e.kind = tar.TypeReg
	case tar.TypeSymlink:
		if e.target == "" || len(e.target) > maxPath || strings.ContainsRune(e.target, 0) {
			return refuse("is a link to nothing")
		}
	case tar.TypeLink:
		if e.target, reason = harmlessName(h.Linkname); reason != "" {
			return refuse("is a link to what " + reason)
		}
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return refuse("is a device")
	default:
		return refuse("is of a type that is not known")
	}
	if e.name == "." && e.kind != tar.TypeDir {
		return refuse("is to replace the folder itself")
	}
	return e, nil
}

// harmlessName cleans a name, or says what is wrong with it.
func harmlessName(name string) (clean, reason string) {
	switch {
	case name == "":
		return "", "has no name"
	case strings.HasPrefix(name, "/"):
		return "", "is absolute"
	case strings.ContainsRune(name, 0):
		return "", "contains NUL"
	case len(name) > maxPath:
		return "", "is too long"
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", "leads upwards"
		}
		if len(part) > maxName {
			return "", "is too long"
		}
	}
	return path.Clean(name), ""
}

// counting is an archive's stream that counts, and ends with a context.
type counting struct {
	ctx   context.Context
	r     io.Reader
	moved func(n int64)
	total int64
	// zeros counts the zeros at the end of what was read.
	zeros int64
	// failed is what the stream itself ended with.
	failed error
}

func (c *counting) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		c.failed = err
		return 0, err
	}
	n, err := c.r.Read(b)
	c.total += int64(n)
	if tail := len(bytes.TrimRight(b[:n], "\x00")); tail > 0 {
		c.zeros = int64(n - tail)
	} else {
		c.zeros += int64(n)
	}
	if c.moved != nil && n > 0 {
		c.moved(c.total)
	}
	if err != nil && err != io.EOF {
		c.failed = err
	}
	return n, err
}

// explain tells a stream that failed from an archive that is none.
func (c *counting) explain(err error) error {
	if c.failed != nil {
		return c.failed
	}
	return resource.Errorf(errdefs.ErrInvalidArgument, "the archive is broken: %w", err)
}

// file reads the content of a file, at most room bytes of it.
func (c *counting) file(r io.Reader, h *tar.Header, room int64) (*content, error) {
	if h.Size > room {
		return nil, errNoSpace
	}
	out := &content{}
	holes := sparse(h)
	buf := make([]byte, chunkSize)
	for {
		if err := c.ctx.Err(); err != nil {
			return nil, err
		}
		n, err := io.ReadFull(r, buf)
		if holes && len(bytes.TrimRight(buf[:n], "\x00")) == 0 {
			out.size += int64(n)
		} else if _, err := out.writeAt(buf[:n], out.size, nil); err != nil {
			return nil, err
		}
		switch {
		case err == io.EOF, err == io.ErrUnexpectedEOF && out.size == h.Size:
			return out, nil
		case err != nil:
			return nil, c.explain(err)
		}
	}
}

// sparse reports whether a file of an archive may have holes: it can be large
// without there being much to read.
func sparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

var (
	errNoSpace = resource.Errorf(errdefs.ErrResourceExhausted, "no space is left")
	errEscapes = errors.New("leads out of the folder")
)

// unpack writes entries below a folder, as root. Nothing is written outside of it,
// by links neither: neither those that were there nor those of the archive. The
// files are locked.
func (v *view) unpack(base []step, entries []entry, rootOwns bool) error {
	u := unpacker{v: v, base: base, rootOwns: rootOwns}
	return u.writeAll(entries)
}

func (u *unpacker) writeAll(entries []entry) error {
	for _, e := range entries {
		if err := u.write(e); err != nil {
			if errors.Is(err, syscall.ENOSPC) {
				return errNoSpace
			}
			return resource.Errorf(unpackKind(err), "%s of the archive: %w", resource.Quote(e.name), err)
		}
	}
	// What is written into a folder changes its time, so the folders' own come last.
	for _, f := range u.folders {
		f.node.modified = f.time
	}
	return nil
}

func unpackKind(err error) error {
	switch {
	case errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EBUSY):
		return errdefs.ErrFailedPrecondition
	}
	return errdefs.ErrInvalidArgument
}

type unpacker struct {
	v        *view
	base     []step
	rootOwns bool
	// replace has whatever is there make room, as in a layer of an image.
	replace bool
	folders []timed
}

type timed struct {
	node *node
	time time.Time
}

// at finds a place in the folder; it makes the folders on the way where they are
// missing.
func (u *unpacker) at(name string) (spot, error) {
	folder := u.base
	if parent := path.Dir(name); parent != "." {
		var err error
		if folder, err = u.folder(parent); err != nil {
			return spot{}, err
		}
	}
	return u.v.walk(credentials{}, folder, path.Base(name), false)
}

// folder returns the trail of a folder, which is made where it is missing.
func (u *unpacker) folder(name string) ([]step, error) {
	s, err := u.at(name)
	if err != nil {
		return nil, err
	}
	if s.node == nil {
		if s, err = u.put(s, newFolder(0o755, 0, 0)); err != nil {
			return nil, err
		}
	}
	if s.node.mode&fs.ModeSymlink != 0 {
		if s, err = u.v.walk(credentials{}, s.trail, s.name, true); err != nil {
			return nil, err
		}
	}
	trail := s.full()
	switch {
	case s.node == nil:
		return nil, syscall.ENOENT
	case !within(u.base, trail):
		return nil, errEscapes
	case !s.node.mode.IsDir():
		return nil, syscall.ENOTDIR
	}
	return trail, nil
}

// put makes a node at a spot; a file or link that is there is replaced.
func (u *unpacker) put(s spot, n *node) (spot, error) {
	in := s.folder()
	switch {
	case in.at.readOnly:
		return s, syscall.EROFS
	case s.name == "":
		return s, syscall.EBUSY
	case s.node != nil && s.hidden() != s.step:
		return s, syscall.EBUSY
	case s.node != nil && s.node.mode.IsDir() && !u.replace:
		return s, syscall.EISDIR
	}
	if n.content != nil && n.names == 0 && !n.content.charge(in.at.fs.quota) {
		return s, syscall.ENOSPC
	}
	if s.node != nil {
		in.node.drop(s.name, in.at.fs.quota)
	}
	in.node.put(s.name, n)
	s.step = step{n, in.at}
	return s, nil
}

func (u *unpacker) write(e entry) error {
	uid, gid := e.uid, e.gid
	if u.rootOwns {
		uid, gid = 0, 0
	}
	if e.kind == tar.TypeDir {
		return u.writeFolder(e, uid, gid)
	}
	s, err := u.at(e.name)
	if err != nil {
		return err
	}
	n := &node{mode: e.mode, uid: uid, gid: gid, modified: e.time, content: e.content}
	switch e.kind {
	case tar.TypeSymlink:
		n = newLink(e.target, uid, gid)
		n.modified = e.time
	case tar.TypeLink:
		old, err := u.at(e.target)
		switch {
		case err != nil:
			return err
		case old.node == nil:
			return syscall.ENOENT
		case old.node.mode.IsDir():
			return syscall.EPERM
		case old.at != s.folder().at:
			return syscall.EXDEV
		case old.node == s.node:
			return nil
		}
		n = old.node
	}
	_, err = u.put(s, n)
	return err
}

func (u *unpacker) writeFolder(e entry, uid, gid int) error {
	trail := u.base
	if e.name != "." {
		s, err := u.at(e.name)
		if err != nil {
			return err
		}
		if s.node != nil && !s.node.mode.IsDir() && (u.replace || s.node.mode&fs.ModeSymlink == 0) {
			if s, err = u.put(s, newFolder(0o755, 0, 0)); err != nil {
				return err
			}
		}
		if trail, err = u.folder(e.name); err != nil {
			return err
		}
	}
	f := trail[len(trail)-1]
	if f.at.readOnly {
		return syscall.EROFS
	}
	f.node.mode, f.node.uid, f.node.gid = fs.ModeDir|e.mode, uid, gid
	u.folders = append(u.folders, timed{f.node, e.time})
	return nil
}
