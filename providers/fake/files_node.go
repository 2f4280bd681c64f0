package fake

import (
	"archive/tar"
	"io/fs"
	"maps"
	"slices"
	"time"
)

// node is a file, a folder, a symbolic link or a device. The lock of the
// backend's files guards it.
type node struct {
	mode     fs.FileMode
	uid, gid int
	modified time.Time
	// names is how many folders' entries lead here. What has none any more lives
	// on while it is open, uncounted.
	names int
	// children are a folder's.
	children map[string]*node
	// target is a symbolic link's.
	target string
	// content is a file's or a device's.
	content *content
}

func newFolder(mode fs.FileMode, uid, gid int) *node {
	return &node{mode: fs.ModeDir | mode, uid: uid, gid: gid, modified: time.Now(), children: map[string]*node{}}
}

func newFile(mode fs.FileMode, uid, gid int, data []byte) *node {
	return &node{mode: mode, uid: uid, gid: gid, modified: time.Now(), content: newContent(data)}
}

func newLink(target string, uid, gid int) *node {
	return &node{mode: fs.ModeSymlink | 0o777, uid: uid, gid: gid, modified: time.Now(), target: target}
}

// put makes a node a child of a folder that has none of the name.
func (n *node) put(name string, child *node) {
	n.children[name] = child
	child.names++
	n.modified = time.Now()
}

// drop takes a child away, and stops counting what has no name any more.
func (n *node) drop(name string, q *quota) {
	child := n.children[name]
	delete(n.children, name)
	n.modified = time.Now()
	child.forget(q)
}

// forget takes one name away.
func (n *node) forget(q *quota) {
	if n.names--; n.names > 0 {
		return
	}
	if n.content != nil {
		n.content.release(q)
	}
	for _, child := range n.children {
		child.forget(q)
	}
}

// copyTree returns a copy of everything below a node. Files share memory until
// one of the two is written to; nothing of the copy is counted.
func (n *node) copyTree() *node { return n.copyInto(map[*node]*node{}) }

// copyInto is copyTree; made has the copies so far, for files of several names.
func (n *node) copyInto(made map[*node]*node) *node {
	if out := made[n]; out != nil {
		return out
	}
	out := &node{mode: n.mode, uid: n.uid, gid: n.gid, modified: n.modified, target: n.target}
	if n.names > 1 {
		made[n] = out
	}
	if n.content != nil {
		out.content = n.content.copy()
	}
	if n.mode.IsDir() {
		out.children = make(map[string]*node, len(n.children))
		for name, child := range n.children {
			copied := child.copyInto(made)
			copied.names++
			out.children[name] = copied
		}
	}
	return out
}

// charge counts everything below a node. Where there is no room, nothing more is
// counted than before.
func (n *node) charge(q *quota) bool {
	var done []*content
	ok := true
	n.each(func(f *node) {
		if !ok || f.content == nil {
			return
		}
		before := f.content.charged
		if ok = f.content.charge(q); ok && before == 0 {
			done = append(done, f.content)
		}
	})
	if !ok {
		for _, c := range done {
			c.release(q)
		}
	}
	return ok
}

// each calls f for every node below and including n.
func (n *node) each(f func(*node)) {
	f(n)
	for _, child := range n.children {
		child.each(f)
	}
}

// size is what Stat says.
func (n *node) size() int64 {
	switch {
	case n.content != nil:
		return n.content.size
	case n.mode&fs.ModeSymlink != 0:
		return int64(len(n.target))
	}
	return 0
}

// names of children in order.
func (n *node) list() []string { return slices.Sorted(maps.Keys(n.children)) }

// filesystem is a tree with its bound: the root of an instance, a volume, a
// tmpfs.
type filesystem struct {
	root  *node
	quota *quota
}

func newFilesystem(root *node, q *quota) *filesystem {
	root.names = max(root.names, 1)
	return &filesystem{root: root, quota: q}
}

// replace puts another content in the place of a root's; the root stays the same
// node, so that mounts of it stay valid.
func (f *filesystem) replace(by *node) {
	old := &node{children: f.root.children, names: 1}
	f.root.children = by.children
	f.root.mode, f.root.uid, f.root.gid, f.root.modified = by.mode, by.uid, by.gid, by.modified
	old.forget(f.quota)
}

// fileInfo is what Stat tells. Its Sys is a *tar.Header, from which
// tar.FileInfoHeader takes the owner.
type fileInfo struct {
	name     string
	size     int64
	mode     fs.FileMode
	modified time.Time
	uid, gid int
}

var (
	_ fs.FileInfo = fileInfo{}
	_ fs.DirEntry = fileInfo{}
)

func (n *node) info(name string) fileInfo {
	return fileInfo{name: name, size: n.size(), mode: n.mode, modified: n.modified, uid: n.uid, gid: n.gid}
}

func (i fileInfo) Name() string               { return i.name }
func (i fileInfo) Size() int64                { return i.size }
func (i fileInfo) Mode() fs.FileMode          { return i.mode }
func (i fileInfo) ModTime() time.Time         { return i.modified }
func (i fileInfo) IsDir() bool                { return i.mode.IsDir() }
func (i fileInfo) Type() fs.FileMode          { return i.mode.Type() }
func (i fileInfo) Info() (fs.FileInfo, error) { return i, nil }
func (i fileInfo) String() string             { return fs.FormatFileInfo(i) }

func (i fileInfo) Sys() any {
	return &tar.Header{Uid: i.uid, Gid: i.gid, ModTime: i.modified}
}
