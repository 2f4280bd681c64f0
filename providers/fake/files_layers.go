package fake

import (
	"archive/tar"
	"context"
	"io"
	"path"
	"strings"
	"sync"
)

// imageTree is the files of an image, unpacked when they are first looked at.
type imageTree struct {
	once sync.Once
	root *node
	err  error
}

// files returns the image's files, which nobody may change. It must not be called
// with the backend locked.
func (img *image) files() (*node, error) {
	if img == nil {
		return newFolder(0o755, 0, 0), nil
	}
	t := &img.artifact.tree
	t.once.Do(func() { t.root, t.err = treeOf(img.artifact.layers) })
	return t.root, t.err
}

// The names that say in a layer what of those below it is hidden, as the OCI image
// specification has them.
const (
	whiteout       = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
)

// treeOf unpacks layers, the lowest first. Whatever they hold, nothing outside of
// the tree can be meant; devices are left out, as nothing here has any.
func treeOf(layers []layer) (*node, error) {
	root := newFolder(0o755, 0, 0)
	at := &mounted{fs: newFilesystem(root, nil), root: root}
	v := &view{root: at}
	for _, l := range layers {
		entries, hidden, err := readLayer(l)
		if err != nil {
			return nil, err
		}
		u := unpacker{v: v, base: v.start(), replace: true}
		for _, name := range hidden {
			u.hide(name)
		}
		if err := u.writeAll(entries); err != nil {
			return nil, err
		}
	}
	return root, nil
}

// readLayer reads a layer: what it adds, and what it hides.
func readLayer(l layer) (entries []entry, hidden []string, err error) {
	tr, err := l.open()
	if err != nil {
		return nil, nil, err
	}
	in := &counting{ctx: context.Background()}
	room := int64(maxUnpacked)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return entries, hidden, nil
		}
		if err != nil {
			return nil, nil, malformed("layer %s: %w", l.digest, err)
		}
		h.Name = confined(h.Name)
		switch h.Typeflag {
		case tar.TypeChar, tar.TypeBlock, tar.TypeFifo, tar.TypeXGlobalHeader:
			continue
		case tar.TypeLink:
			h.Linkname = confined(h.Linkname)
		}
		if strings.HasPrefix(path.Base(h.Name), whiteout) {
			hidden = append(hidden, h.Name)
			continue
		}
		e, err := newEntry(h)
		if err != nil {
			return nil, nil, err
		}
		if e.kind == tar.TypeReg {
			if e.content, err = in.file(tr, h, room); err != nil {
				return nil, nil, err
			}
			room -= e.content.size
		}
		entries = append(entries, e)
	}
}

// confined makes a name of a layer relative to its root, as every runtime does.
func confined(name string) string {
	return path.Join(".", path.Clean("/"+name))
}

// hide takes away what a whiteout names. What is not there needs no hiding.
func (u *unpacker) hide(name string) {
	folder := u.base
	if parent := path.Dir(name); parent != "." {
		s, err := u.v.walk(credentials{}, u.base, parent, true)
		if err != nil || s.node == nil || !s.node.mode.IsDir() {
			return
		}
		folder = s.full()
	}
	in := folder[len(folder)-1].node
	if base := path.Base(name); base == whiteoutOpaque {
		clear(in.children)
	} else if base = strings.TrimPrefix(base, whiteout); in.children[base] != nil {
		in.drop(base, nil)
	}
}
