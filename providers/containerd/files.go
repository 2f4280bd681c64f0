package containerd

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/archives"
	"github.com/univirt/univirt/internal/rooted"
	"github.com/univirt/univirt/resource"
)

// The files of an instance that runs are what its main process sees, with its mounts: they
// are reached by that process' root. Those of one that does not run are its root
// filesystem, which is mounted where nobody but this process sees it, and for as long as it
// is looked at: without a way to write to it, or with the instance locked.

var _ compute.Filer = (*instance)(nil)

// CopyIn implements compute.Filer. The archive is read as a whole, into the folder for
// state, before any of it is written.
func (i *instance) CopyIn(ctx context.Context, dir string, archive io.Reader, opts compute.CopyOptions) error {
	ctx, done, err := i.p.begin(ctx)
	if err != nil {
		return i.fail("copy in", err)
	}
	defer done()
	if archive == nil {
		return i.fail("copy in", resource.Faults{{Field: "archive", Reason: "is required"}})
	}
	if err := archives.CheckInside("dir", dir); err != nil {
		return i.fail("copy in", err)
	}
	k, err := i.load(ctx)
	if err == nil {
		err = k.owned()
	}
	if err != nil {
		return i.fail("copy in", err)
	}
	spool, err := i.p.spool(ctx, archive)
	if err == nil {
		defer func() { _ = spool.Close() }()
		err = i.p.writing(ctx, k, func(root *rooted.Root) error { return root.Unpack(ctx, dir, spool, opts.NoOwner) })
	}
	if done := ended(ctx); err != nil && done != nil {
		err = done
	}
	return i.fail("copy in", rooted.At("", err))
}

// spool reads an archive of the caller's into a file without a name.
func (p *Provider) spool(ctx context.Context, archive io.Reader) (*os.File, error) {
	f, err := nameless(p.state.root)
	if err != nil {
		return nil, fmt.Errorf("keep the archive: %w", err)
	}
	stream, stop := readFrom(ctx, archive)
	err = rooted.Spool(ctx, stream, f)
	stop()
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// writing has do write below the root of an instance.
func (p *Provider) writing(ctx context.Context, k *known, do func(*rooted.Root) error) error {
	id := k.container.ID
	root, err := p.runningRoot(ctx, id)
	if err != nil {
		return err
	}
	if root != nil {
		defer func() { _ = root.Close() }()
		return do(root)
	}
	return p.locked(ctx, id, func() error {
		// Somebody may have started or deleted it while this waited.
		root, err := p.runningRoot(ctx, id)
		if err == nil && root == nil {
			root, err = p.restingRoot(ctx, id, false)
		}
		if err != nil {
			return err
		}
		defer func() { _ = root.Close() }()
		return do(root)
	})
}

// reading returns the root of an instance for reading. The caller closes it.
func (p *Provider) reading(ctx context.Context, id string) (*rooted.Root, error) {
	root, err := p.runningRoot(ctx, id)
	if err == nil && root == nil {
		root, err = p.restingRoot(ctx, id, true)
	}
	return root, err
}

// runningRoot is the root of the main process; nil where none runs. That the process is
// the task's is looked at when its number can be no other's any more.
func (p *Provider) runningRoot(ctx context.Context, id string) (*rooted.Root, error) {
	t, err := p.loadTask(ctx, id)
	if err != nil || t == nil || !stateOf(t).Active() {
		return nil, err
	}
	main := p.mainProcess(ctx, id)
	dir, err := rootOfProcess(int(t.Pid), main.is)
	switch {
	case main.err != nil:
		return nil, main.err
	case os.IsNotExist(err):
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reach the files of the main process: %w", err)
	}
	return rooted.New(dir), nil
}

// restingRoot mounts the root filesystem of an instance that does not run.
func (p *Provider) restingRoot(ctx context.Context, id string, readOnly bool) (*rooted.Root, error) {
	k, err := p.loadContainer(ctx, id)
	if err != nil {
		return nil, err
	}
	if k.container.SnapshotKey == "" {
		return nil, resource.Errorf(errdefs.ErrFailedPrecondition, "no snapshotter has the instance's root filesystem")
	}
	mounts, err := p.client.SnapshotService(k.container.Snapshotter).Mounts(ctx, k.container.SnapshotKey)
	if errdefs.IsNotFound(err) && ctx.Err() == nil {
		return nil, resource.Errorf(errdefs.ErrDataLoss, "the root filesystem is gone: %w", withoutKind{err})
	}
	if err != nil {
		return nil, translate(ctx, err)
	}
	dir, err := mountApart(mounts, p.state.root, readOnly)
	if err != nil {
		return nil, fmt.Errorf("mount the root filesystem: %w", err)
	}
	return rooted.New(dir), nil
}

// putFiles writes the files of a spec into the root filesystem that was made for it.
func (p *Provider) putFiles(ctx context.Context, mounts []mount.Mount, files []compute.File) error {
	if len(files) == 0 {
		return nil
	}
	dir, err := mountApart(mounts, p.state.root, false)
	if err != nil {
		return fmt.Errorf("mount the root filesystem: %w", err)
	}
	root := rooted.New(dir)
	defer func() { _ = root.Close() }()
	for n, f := range files {
		archive, err := archiveOf(f)
		if err == nil {
			err = root.Unpack(ctx, "/", archive, false)
		}
		if err != nil {
			return atField(fmt.Sprintf("files[%d].path", n), err)
		}
	}
	return nil
}

// archiveOf is an archive with one file.
func archiveOf(f compute.File) (io.Reader, error) {
	content, mode := f.Data, int64(0o644)
	if !f.Secret.IsZero() {
		content, mode = []byte(f.Secret.Reveal()), 0o400
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	h := tar.Header{
		Name: strings.TrimPrefix(path.Clean(f.Path), "/"), Typeflag: tar.TypeReg, Size: int64(len(content)),
		Mode: cmp.Or(int64(f.Mode), mode), Uid: f.UID, Gid: f.GID, ModTime: time.Now(),
	}
	if err := w.WriteHeader(&h); err != nil {
		return nil, resource.Errorf(errdefs.ErrInvalidArgument, "no archive can have it: %w", err)
	}
	_, err := w.Write(content)
	return &b, errors.Join(err, w.Close())
}

// CopyOut implements compute.Filer. What is there is packed as it is read.
func (i *instance) CopyOut(ctx context.Context, name string, opts compute.CopyOptions) (io.ReadCloser, error) {
	ctx, free, done, err := i.p.beginWith(ctx)
	if err != nil {
		return nil, i.fail("copy out", err)
	}
	fail := func(err error) (io.ReadCloser, error) {
		done()
		return nil, i.fail("copy out", err)
	}
	if err := archives.CheckInside("path", name); err != nil {
		return fail(err)
	}
	if _, err := i.load(ctx); err != nil {
		return fail(err)
	}
	root, err := i.p.reading(ctx, i.id)
	if err != nil {
		return fail(err)
	}
	found, err := root.Find(name)
	_ = root.Close()
	if err != nil {
		return fail(rooted.At("path", err))
	}
	out, in := io.Pipe()
	c := &copyOut{inst: i, stream: out, ended: make(chan struct{})}
	stop := context.AfterFunc(ctx, func() { _ = in.CloseWithError(ended(ctx)) })
	// From here on containerd is not asked.
	free()
	go func() {
		defer close(c.ended)
		defer done()
		err := rooted.Pack(ctx, in, found, archives.LastName(name), opts.NoOwner)
		_ = found.Close()
		stop()
		_ = in.CloseWithError(err)
	}()
	return c, nil
}

// copyOut is an archive that is being packed.
type copyOut struct {
	inst   *instance
	stream *io.PipeReader
	ended  chan struct{}
}

// Read implements io.Reader.
func (c *copyOut) Read(b []byte) (int, error) {
	n, err := c.stream.Read(b)
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) {
		return n, err
	}
	return n, c.inst.fail("copy out", rooted.At("path", err))
}

// Close implements io.Closer. Closing twice is nil.
func (c *copyOut) Close() error {
	_ = c.stream.Close()
	briefly(c.ended) // a file may block as its owner likes
	return nil
}

// Files implements compute.Filer. Each file that is opened is looked for anew, where the
// instance runs then or does not.
func (i *instance) Files(ctx context.Context) (fs.FS, error) {
	begun, done, err := i.p.begin(ctx)
	if err != nil {
		return nil, i.fail("files", err)
	}
	defer done()
	if _, err := i.load(begun); err != nil {
		return nil, i.fail("files", err)
	}
	return &instanceFS{ctx: ctx, inst: i}, nil
}

// instanceFS are the files of an instance.
type instanceFS struct {
	ctx  context.Context
	inst *instance
}

// Open implements fs.FS.
func (f *instanceFS) Open(name string) (fs.File, error) {
	fail := func(err error) (fs.File, error) { return nil, &fs.PathError{Op: "open", Path: name, Err: err} }
	ctx, done, err := f.inst.p.begin(f.ctx)
	if err != nil {
		return fail(f.inst.fail("files", err))
	}
	defer done()
	if !fs.ValidPath(name) {
		return fail(fs.ErrInvalid)
	}
	root, err := f.inst.p.reading(ctx, f.inst.id)
	if err != nil {
		return fail(f.inst.fail("files", err))
	}
	defer func() { _ = root.Close() }()
	return root.Open(f.ctx, name)
}
