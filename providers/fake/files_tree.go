package fake

import (
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Tree is a file tree in memory as one user sees it. Names are those of package
// os, as are the methods and their errors, which are *fs.PathError with the
// errors of Linux: fs.ErrNotExist, syscall.ENOSPC where a volume is full,
// syscall.EROFS where a mount is read-only. Permissions are checked, as for any
// user but root. Its methods may be called concurrently.
type Tree struct {
	files *sync.RWMutex
	view  *view
	who   credentials
	// dir is where relative names begin.
	dir   string
	umask fs.FileMode
	// enter says why the tree cannot be used, or is nil.
	enter func() error
	// counts is what is counted for Stats, or nil.
	counts *diskCounts
}

func (t *Tree) pass() error {
	if t.enter == nil {
		return nil
	}
	return t.enter()
}

func (t *Tree) find(name string, follow bool) (spot, error) {
	if name != "" && name[0] != '/' && t.dir != "" {
		name = t.dir + "/" + name
	}
	return t.view.walk(t.who, t.view.start(), name, follow)
}

// look calls f with what is at the name, and the files locked for reading.
func (t *Tree) look(op, name string, follow bool, f func(s spot) error) error {
	return t.with(op, name, follow, t.files.RLocker(), func(s spot) error {
		if s.node == nil {
			return syscall.ENOENT
		}
		return f(s)
	})
}

// alter calls f with what is at the name, or with the place for it, and the files
// locked.
func (t *Tree) alter(op, name string, follow bool, f func(s spot) error) error {
	return t.with(op, name, follow, t.files, f)
}

func (t *Tree) with(op, name string, follow bool, lock sync.Locker, f func(s spot) error) error {
	err := t.pass()
	if err == nil {
		lock.Lock()
		defer lock.Unlock()
		var s spot
		if s, err = t.find(name, follow); err == nil {
			err = f(s)
		}
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
	return nil
}

// writable says why nothing may be changed in a folder.
func (t *Tree) writable(s step) error {
	switch {
	case s.at.readOnly:
		return syscall.EROFS
	case !t.who.may(s.node, mayWrite|mayExecute):
		return syscall.EACCES
	}
	return nil
}

// create makes a node at a spot where nothing is.
func (t *Tree) create(s spot, make func() *node) (*node, error) {
	if err := t.writable(s.folder()); err != nil {
		return nil, err
	}
	n := make()
	s.folder().node.put(s.name, n)
	return n, nil
}

// Open opens a file or a folder for reading.
func (t *Tree) Open(name string) (*File, error) { return t.OpenFile(name, os.O_RDONLY, 0) }

// Create makes a file or empties the one that is there, and opens it for reading
// and writing.
func (t *Tree) Create(name string) (*File, error) {
	return t.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o666)
}

// OpenFile opens a file with the flags of package os, and makes it with the
// permissions given where they say so.
func (t *Tree) OpenFile(name string, flag int, perm fs.FileMode) (*File, error) {
	f := &File{t: t, name: name, flag: flag}
	err := t.alter("open", name, flag&os.O_EXCL == 0 || flag&os.O_CREATE == 0, func(s spot) error {
		if s.node != nil && flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0 {
			return syscall.EEXIST
		}
		if s.node == nil {
			if flag&os.O_CREATE == 0 {
				return syscall.ENOENT
			}
			if name[len(name)-1] == '/' {
				return syscall.EISDIR
			}
			n, err := t.create(s, func() *node { return newFile(perm.Perm()&^t.umask, t.who.uid, t.who.gid, nil) })
			if err != nil {
				return err
			}
			f.step = step{n, s.folder().at}
		} else if f.step = s.step; !t.mayOpen(f) {
			return syscall.EACCES
		}
		if f.writes() {
			switch {
			case f.node.mode.IsDir():
				return syscall.EISDIR
			case f.at.readOnly:
				return syscall.EROFS
			}
			if flag&os.O_TRUNC != 0 && f.node.mode.IsRegular() {
				if err := f.node.content.truncate(0, f.quota()); err != nil {
					return err
				}
				f.node.modified = time.Now()
			}
		}
		f.at.open++
		return nil
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (t *Tree) mayOpen(f *File) bool {
	want := fs.FileMode(mayRead)
	switch f.flag & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR) {
	case os.O_WRONLY:
		want = mayWrite
	case os.O_RDWR:
		want = mayRead | mayWrite
	}
	return t.who.may(f.node, want)
}

// ReadFile returns the content of a file.
func (t *Tree) ReadFile(name string) ([]byte, error) {
	f, err := t.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// WriteFile replaces the content of a file, or makes it with the permissions
// given.
func (t *Tree) WriteFile(name string, data []byte, perm fs.FileMode) error {
	f, err := t.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(data)
	return err
}

// ReadDir lists a folder in the order of names.
func (t *Tree) ReadDir(name string) ([]fs.DirEntry, error) {
	f, err := t.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.ReadDir(-1)
}

// Stat says what is at the name; it follows links.
func (t *Tree) Stat(name string) (fs.FileInfo, error) { return t.stat("stat", name, true) }

// Lstat says what is at the name, a link itself included.
func (t *Tree) Lstat(name string) (fs.FileInfo, error) { return t.stat("lstat", name, false) }

func (t *Tree) stat(op, name string, follow bool) (info fs.FileInfo, err error) {
	err = t.look(op, name, follow, func(s spot) error {
		info = s.node.info(path.Base(name))
		return nil
	})
	return info, err
}

// Readlink returns where a symbolic link leads to.
func (t *Tree) Readlink(name string) (target string, err error) {
	err = t.look("readlink", name, false, func(s spot) error {
		if s.node.mode&fs.ModeSymlink == 0 {
			return syscall.EINVAL
		}
		target = s.node.target
		return nil
	})
	return target, err
}

// Mkdir makes a folder.
func (t *Tree) Mkdir(name string, perm fs.FileMode) error {
	return t.alter("mkdir", name, false, func(s spot) error {
		if s.node != nil {
			return syscall.EEXIST
		}
		_, err := t.create(s, func() *node { return newFolder(perm.Perm()&^t.umask, t.who.uid, t.who.gid) })
		return err
	})
}

// MkdirAll makes a folder and those on the way to it that are not there.
func (t *Tree) MkdirAll(name string, perm fs.FileMode) error {
	if info, err := t.Stat(name); err == nil {
		if !info.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: name, Err: syscall.ENOTDIR}
		}
		return nil
	}
	if parent := path.Dir(path.Clean(name)); parent != "." && parent != "/" {
		if err := t.MkdirAll(parent, perm); err != nil {
			return err
		}
	}
	err := t.Mkdir(name, perm)
	if info, statErr := t.Stat(name); statErr == nil && info.IsDir() {
		return nil
	}
	return err
}

// Remove removes a file, a link or an empty folder.
func (t *Tree) Remove(name string) error {
	return t.alter("remove", name, false, func(s spot) error {
		switch {
		case s.node == nil:
			return syscall.ENOENT
		case s.node.mode.IsDir() && s.name != "" && len(s.node.children) > 0:
			return syscall.ENOTEMPTY
		}
		return t.remove(s)
	})
}

// RemoveAll removes what is at the name with everything below it. It is nil where
// nothing is there.
func (t *Tree) RemoveAll(name string) error {
	return t.alter("removeall", name, false, func(s spot) error {
		if s.node == nil {
			return nil
		}
		return t.remove(s)
	})
}

// remove takes away what is at a spot.
func (t *Tree) remove(s spot) error {
	if s.name == "" {
		return syscall.EBUSY
	}
	if err := t.removable(s); err != nil {
		return err
	}
	in := s.folder()
	in.node.drop(s.name, in.at.fs.quota)
	return nil
}

// removable says why a name cannot be taken away.
func (t *Tree) removable(s spot) error {
	in := s.folder()
	if err := t.writable(in); err != nil {
		return err
	}
	if in.node.mode&fs.ModeSticky != 0 && t.who.uid != 0 && t.who.uid != in.node.uid && t.who.uid != s.node.uid {
		return syscall.EPERM
	}
	busy := false
	s.hidden().node.each(func(n *node) { busy = busy || t.view.over[step{n, in.at}] != nil })
	if busy {
		return syscall.EBUSY
	}
	return nil
}

// Rename gives a file or folder another name, also in another folder of the same
// mount. A file that has the name already is replaced, as is an empty folder by a
// folder.
func (t *Tree) Rename(from, to string) error {
	return t.alter("rename", from, false, func(s spot) error {
		if s.node == nil {
			return syscall.ENOENT
		}
		d, err := t.find(to, false)
		switch {
		case err != nil:
			return err
		case s.name == "" || d.name == "":
			return syscall.EBUSY
		case d.folder().at != s.folder().at:
			return syscall.EXDEV
		}
		if err := t.removable(s); err != nil {
			return err
		}
		if err := t.writable(d.folder()); err != nil {
			return err
		}
		if slices.ContainsFunc(d.trail, func(above step) bool { return above.node == s.node }) {
			return syscall.EINVAL
		}
		if d.node != nil {
			switch {
			case d.node == s.node:
				return nil
			case d.node.mode.IsDir() && !s.node.mode.IsDir():
				return syscall.EISDIR
			case !d.node.mode.IsDir() && s.node.mode.IsDir():
				return syscall.ENOTDIR
			case len(d.node.children) > 0:
				return syscall.ENOTEMPTY
			}
			if err := t.remove(d); err != nil {
				return err
			}
		}
		in := s.folder()
		delete(in.node.children, s.name)
		in.node.modified = time.Now()
		d.folder().node.children[d.name] = s.node
		d.folder().node.modified = time.Now()
		return nil
	})
}

// Symlink makes a symbolic link. It may lead to where nothing is, and never out of
// the tree.
func (t *Tree) Symlink(target, name string) error {
	return t.alter("symlink", name, false, func(s spot) error {
		switch {
		case s.node != nil:
			return syscall.EEXIST
		case target == "":
			return syscall.ENOENT
		case len(target) > maxPath:
			return syscall.ENAMETOOLONG
		}
		_, err := t.create(s, func() *node { return newLink(target, t.who.uid, t.who.gid) })
		return err
	})
}

// Link gives a file a further name in the same mount.
func (t *Tree) Link(old, name string) error {
	return t.alter("link", name, false, func(s spot) error {
		from, err := t.find(old, false)
		switch {
		case err != nil:
			return err
		case from.node == nil:
			return syscall.ENOENT
		case s.node != nil:
			return syscall.EEXIST
		case from.node.mode.IsDir():
			return syscall.EPERM
		case from.at != s.folder().at:
			return syscall.EXDEV
		}
		_, err = t.create(s, func() *node { return from.node })
		return err
	})
}

// Chmod sets the permissions of what is at the name.
func (t *Tree) Chmod(name string, mode fs.FileMode) error {
	return t.own("chmod", name, false, func(n *node) {
		const bits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
		n.mode = n.mode&^bits | mode&bits
	})
}

// Chown sets the owner of what is at the name, which only root may; -1 leaves one
// of the numbers alone.
func (t *Tree) Chown(name string, uid, gid int) error {
	return t.own("chown", name, true, func(n *node) {
		if uid >= 0 {
			n.uid = uid
		}
		if gid >= 0 {
			n.gid = gid
		}
	})
}

// Chtimes sets when what is at the name was changed last. Times of access are not
// kept.
func (t *Tree) Chtimes(name string, _, modified time.Time) error {
	return t.own("chtimes", name, false, func(n *node) { n.modified = modified })
}

// own changes what only the owner may.
func (t *Tree) own(op, name string, rootOnly bool, f func(n *node)) error {
	return t.alter(op, name, true, func(s spot) error {
		switch {
		case s.node == nil:
			return syscall.ENOENT
		case s.at.readOnly:
			return syscall.EROFS
		case t.who.uid != 0 && (rootOnly || t.who.uid != s.node.uid):
			return syscall.EPERM
		}
		f(s.node)
		return nil
	})
}

// Truncate sets the size of a file.
func (t *Tree) Truncate(name string, size int64) error {
	f, err := t.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Truncate(size)
}
