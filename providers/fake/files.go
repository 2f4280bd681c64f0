package fake

import (
	"context"
	"io"
	"io/fs"
	"sync"
	"syscall"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// Files is the process's view of the instance's file tree: mounts included, with
// the permissions of the process's user. Relative names begin in its directory.
func (p *Process) Files() *Tree {
	t := &Tree{
		files: &p.run.backend().files, view: &view{}, dir: p.Dir, umask: 0o022, enter: p.pass,
		who: credentials{uid: p.User.UID, gid: p.User.GID, groups: p.User.Groups},
	}
	f, err := p.run.instance.opened()
	if err != nil {
		t.enter = func() error { return err }
		return t
	}
	t.view, t.counts = f.view, &f.counts
	return t
}

// Files is the file tree of the backend's host, of which bind mounts show a part.
// It begins with an empty /tmp.
func (b *Backend) Files() *Tree { return &Tree{files: &b.files, view: b.host, umask: 0o022} }

var _ compute.Filer = (*handle)(nil)

// withFiles is the frame of what works on an instance's files. Neither the backend
// nor the files are locked in f.
func (h *handle) withFiles(ctx context.Context, op Op, check func() error, f func(i *instance, files *instanceFiles) error) error {
	p := h.p
	if err := p.open(ctx); err != nil {
		return h.fail(op, err)
	}
	if err := check(); err != nil {
		return h.fail(op, err)
	}
	p.backend.mu.Lock()
	i, err := h.find(op)
	var at target
	if err == nil {
		at = i.target()
		switch has := i.features()[compute.FeatureFilesStopped]; {
		case op == OpCopyIn && i.owned() != nil:
			err = i.owned()
		case !has.Supported && i.state != compute.Running:
			err = resource.Errorf(errdefs.ErrUnavailable, "the instance is %s: %s", i.state, has.Reason)
		}
	}
	p.backend.mu.Unlock()
	if err != nil {
		return h.fail(op, err)
	}
	c, err := p.reach(ctx, op, at)
	if err != nil {
		return h.fail(op, err)
	}
	files, err := i.opened()
	if err == nil {
		err = f(i, files)
	}
	return h.fail(op, c.done(err))
}

// CopyIn unpacks an archive. An archive that is broken, or that holds what it must
// not, is refused before anything is written.
func (h *handle) CopyIn(ctx context.Context, dir string, archive io.Reader, opts compute.CopyOptions) error {
	check := func() error {
		if archive == nil {
			return resource.Faults{{Field: "archive", Reason: "is required"}}
		}
		return checkInside("dir", dir)
	}
	return h.withFiles(ctx, OpCopyIn, check, func(_ *instance, files *instanceFiles) error {
		b := h.p.backend
		find := func() (spot, error) {
			s, err := files.view.walk(credentials{}, files.view.start(), dir, true)
			switch {
			case err == nil && s.node == nil:
				err = syscall.ENOENT
			case err == nil && !s.node.mode.IsDir():
				err = syscall.ENOTDIR
			}
			if err != nil {
				return s, fileError("dir", &fs.PathError{Op: "open", Path: dir, Err: err})
			}
			return s, nil
		}
		b.files.RLock()
		s, err := find()
		room := int64(0)
		if err == nil {
			room = s.at.fs.quota.room()
		}
		b.files.RUnlock()
		if err != nil {
			return err
		}
		entries, err := readArchive(ctx, h.p.readFrom(ctx, archive), room, nil)
		if err != nil {
			return err
		}
		b.files.Lock()
		defer b.files.Unlock()
		if s, err = find(); err != nil {
			return err
		}
		return files.view.unpack(s.full(), entries, opts.NoOwner)
	})
}

// CopyOut returns an archive of what is at the path at the time of the call.
func (h *handle) CopyOut(ctx context.Context, path string, opts compute.CopyOptions) (io.ReadCloser, error) {
	var out *copyOut
	check := func() error { return checkInside("path", path) }
	err := h.withFiles(ctx, OpCopyOut, check, func(i *instance, files *instanceFiles) error {
		b := h.p.backend
		// A copy shares the memory of files, which marks them.
		b.files.Lock()
		defer b.files.Unlock()
		s, err := files.view.walk(credentials{}, files.view.start(), path, false)
		if err == nil && s.node == nil {
			err = syscall.ENOENT
		}
		if err != nil {
			return fileError("path", &fs.PathError{Op: "open", Path: path, Err: err})
		}
		enter := func() error { return h.fail(OpCopyOut, h.p.open(ctx)) }
		out = &copyOut{archive: newArchive(files.view.capture(s.step), lastName(path), opts.NoOwner, enter)}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// copyOut is an archive that can be closed.
type copyOut struct {
	mu      sync.Mutex
	archive *archive
}

func (c *copyOut) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.archive == nil {
		return 0, fs.ErrClosed
	}
	return c.archive.Read(b)
}

// Close frees what the archive holds. Closing twice is nil.
func (c *copyOut) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.archive = nil
	return nil
}

// Files returns the instance's files for reading, as root sees them.
func (h *handle) Files(ctx context.Context) (fs.FS, error) {
	var fsys fs.FS
	err := h.withFiles(ctx, OpFiles, func() error { return nil }, func(i *instance, files *instanceFiles) error {
		t := &Tree{files: &h.p.backend.files, view: files.view}
		t.enter = func() error {
			if err := h.p.open(ctx); err != nil {
				return err
			}
			h.p.backend.mu.Lock()
			defer h.p.backend.mu.Unlock()
			if i.gone {
				return errNoInstance
			}
			return nil
		}
		fsys = t.FS()
		return nil
	})
	return fsys, err
}
