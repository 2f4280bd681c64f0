package fake

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"io/fs"
	"path"
)

// archive writes files as a tar archive, piece by piece as it is read: it needs no
// goroutine, and none is left where the reader stops. What it writes is a copy
// that nobody changes meanwhile.
type archive struct {
	// enter says why no more may be read.
	enter func() error
	// left are what is still to be written.
	left []archived
	// done are the names of files of several names.
	done map[*node]string
	// opts decide whether owners are told.
	rootOwns bool

	buf bytes.Buffer
	w   *tar.Writer
	// body is the file that is being written, up to offset.
	body   *content
	offset int64
	ended  bool
	// file counts the bytes of files.
	written int64
}

// archived is a node with its name in the archive.
type archived struct {
	name string
	node *node
}

// newArchive writes a tree, which must be a copy, under a name.
func newArchive(root *node, name string, rootOwns bool, enter func() error) *archive {
	a := &archive{enter: enter, rootOwns: rootOwns, left: []archived{{name, root}}, done: map[*node]string{}}
	a.w = tar.NewWriter(&a.buf)
	return a
}

// Read reads the next bytes of the archive.
func (a *archive) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for a.buf.Len() == 0 {
		if a.ended {
			return 0, io.EOF
		}
		if err := a.enter(); err != nil {
			return 0, err
		}
		if err := a.step(); err != nil {
			return 0, err
		}
	}
	return a.buf.Read(b)
}

// step writes the next piece into the buffer.
func (a *archive) step() error {
	if a.body != nil {
		piece := make([]byte, min(chunkSize, a.body.size-a.offset))
		n, _ := a.body.readAt(piece, a.offset)
		a.offset += int64(n)
		a.written += int64(n)
		if a.offset == a.body.size {
			a.body = nil
		}
		_, err := a.w.Write(piece[:n])
		return err
	}
	if len(a.left) == 0 {
		a.ended = true
		return a.w.Close()
	}
	next := a.left[0]
	a.left = a.left[1:]
	// The order is that of the names, each folder before what is in it.
	inner := make([]archived, 0, len(next.node.children))
	for _, name := range next.node.list() {
		inner = append(inner, archived{path.Join(next.name, name), next.node.children[name]})
	}
	a.left = append(inner, a.left...)
	return a.enterNode(next)
}

func (a *archive) enterNode(e archived) error {
	n := e.node
	h := &tar.Header{
		Name: e.name, Mode: int64(unixMode(n.mode)), Uid: n.uid, Gid: n.gid, ModTime: n.modified, Format: tar.FormatPAX,
	}
	if a.rootOwns {
		h.Uid, h.Gid = 0, 0
	}
	first, seen := a.done[n]
	switch {
	case seen:
		h.Typeflag, h.Linkname = tar.TypeLink, first
	case n.mode.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, e.name+"/"
	case n.mode&fs.ModeSymlink != 0:
		h.Typeflag, h.Linkname = tar.TypeSymlink, n.target
	case n.mode&fs.ModeDevice != 0:
		h.Typeflag = tar.TypeBlock
	default:
		h.Typeflag, h.Size = tar.TypeReg, n.content.size
		if n.content.size > 0 {
			a.body, a.offset = n.content, 0
		}
	}
	if n.names > 1 && !seen && !n.mode.IsDir() {
		a.done[n] = e.name
	}
	return a.w.WriteHeader(h)
}

// unixMode returns permissions as Linux numbers them.
func unixMode(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	for flag, bit := range specialBits {
		if m&flag != 0 {
			bits |= bit
		}
	}
	return bits
}

var specialBits = map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000}

// fileMode is the inverse of unixMode.
func fileMode(bits uint32) fs.FileMode {
	m := fs.FileMode(bits & 0o777)
	for flag, bit := range specialBits {
		if bits&bit != 0 {
			m |= flag
		}
	}
	return m
}

// capture copies what is at a step with everything that is mounted below it, for
// somebody to read without the lock. The files are locked.
func (v *view) capture(s step) *node {
	made := map[*node]*node{}
	var take func(s step) *node
	take = func(s step) *node {
		if !s.node.mode.IsDir() {
			return s.node.copyInto(made)
		}
		out := &node{mode: s.node.mode, uid: s.node.uid, gid: s.node.gid, modified: s.node.modified, children: map[string]*node{}}
		for name := range s.node.children {
			child, _ := v.child(s, name)
			copied := take(child)
			copied.names++
			out.children[name] = copied
		}
		return out
	}
	return take(s)
}

// copyContext is io.Copy that ends with a context.
func copyContext(ctx context.Context, w io.Writer, r io.Reader, moved func(n int64)) error {
	buf := make([]byte, chunkSize)
	var total int64
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
			total += int64(n)
			moved(total)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
