//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// guestFiles are the files of a guest. Links are followed by the guest, which knows
// nothing outside of its root. The context is that of Files, which bounds each use.
type guestFiles struct {
	ctx context.Context
	i   *instance
	a   qemuAgent
}

var _ fs.FS = guestFiles{}

// Open implements fs.FS. What is read of a file is asked for when it is.
func (g guestFiles) Open(name string) (fs.File, error) {
	fail := func(err error) (fs.File, error) { return nil, &fs.PathError{Op: "open", Path: name, Err: err} }
	if !fs.ValidPath(name) || strings.ContainsRune(name, 0) {
		return fail(fs.ErrInvalid)
	}
	c := shell(`[ -e "$1" ] || exit 63; exec stat -L -c '`+statFormat+`' "$1"`, "/"+name)
	c.Capture = true
	status, err := g.a.finish(g.ctx, c)
	exit := status.exit()
	switch {
	case err != nil:
		return fail(g.i.fail("files", err))
	case exit.Code == notThere:
		return fail(fs.ErrNotExist)
	case exit.Code != 0:
		return fail(g.i.fail("files", resource.Errorf(errdefs.ErrFailedPrecondition, "the guest's stat says %s", resource.Quote(string(status.Err[:min(len(status.Err), mostComplaint)])))))
	}
	info, err := parseStat(path.Base(name), strings.TrimSuffix(string(status.Out), "\n"))
	if err != nil {
		return fail(g.i.fail("files", err))
	}
	f := guestFile{g: g, name: name, info: info}
	if info.IsDir() {
		return &guestDir{guestFile: f}, nil
	}
	return &guestContent{guestFile: f}, nil
}

// guestFile is what files and directories have in common.
type guestFile struct {
	g    guestFiles
	name string
	info fs.FileInfo
}

func (f *guestFile) Stat() (fs.FileInfo, error) { return f.info, nil }

func (f *guestFile) fail(op string, err error) error {
	if err == nil || errors.Is(err, fs.ErrClosed) || errors.Is(err, fs.ErrInvalid) || errors.Is(err, fs.ErrNotExist) {
		return &fs.PathError{Op: op, Path: f.name, Err: err}
	}
	return &fs.PathError{Op: op, Path: f.name, Err: f.g.i.fail("files", err)}
}

// guestContent is a file that is no directory.
type guestContent struct {
	guestFile
	mu sync.Mutex
	// handle is the agent's; nil before the first Read.
	handle *handleReply
	unread []byte
	closed bool
}

// Read implements fs.File. Only regular files have content here: an agent that reads
// from anything else may wait for ever.
func (f *guestContent) Read(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return 0, f.fail("read", fs.ErrClosed)
	case !f.info.Mode().IsRegular():
		return 0, f.fail("read", fs.ErrInvalid)
	case len(b) == 0:
		return 0, nil
	}
	if f.handle == nil {
		h, err := f.g.a.open(f.g.ctx, "/"+f.name, "r")
		if err != nil {
			return 0, f.fail("read", err)
		}
		f.handle = &h
	}
	if len(f.unread) == 0 {
		data, err := f.g.a.read(f.g.ctx, *f.handle)
		if err != nil {
			return 0, f.fail("read", err)
		}
		if len(data) == 0 {
			return 0, io.EOF
		}
		f.unread = data
	}
	n := copy(b, f.unread)
	f.unread = f.unread[n:]
	return n, nil
}

// Close implements fs.File.
func (f *guestContent) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return f.fail("close", fs.ErrClosed)
	}
	f.closed = true
	if f.handle == nil {
		return nil
	}
	// Also where the context has ended: the agent keeps what is open.
	clean, cancel := f.g.a.p.cleanup(f.g.ctx)
	defer cancel()
	if err := f.g.a.close(clean, *f.handle); err != nil {
		return f.fail("close", err)
	}
	return nil
}

// guestDir is a directory.
type guestDir struct {
	guestFile
	mu sync.Mutex
	// left are the entries that were not told yet.
	left         []fs.DirEntry
	read, closed bool
}

var _ fs.ReadDirFile = (*guestDir)(nil)

// Read implements fs.File.
func (d *guestDir) Read([]byte) (int, error) { return 0, d.fail("read", fs.ErrInvalid) }

// Close implements fs.File.
func (d *guestDir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return d.fail("close", fs.ErrClosed)
	}
	d.closed = true
	return nil
}

// ReadDir implements fs.ReadDirFile. All entries are as they were at the first call.
func (d *guestDir) ReadDir(n int) ([]fs.DirEntry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, d.fail("readdir", fs.ErrClosed)
	}
	if !d.read {
		entries, err := d.list()
		if err != nil {
			return nil, d.fail("readdir", err)
		}
		d.left, d.read = entries, true
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

// lister lists a directory in parts: how many entries there are in one, their names,
// and a line of each.
const lister = `
cd "$1" 2>/dev/null || exit 63
exec find . -mindepth 1 -maxdepth 1 -exec sh -c '
printf "%s\n" $#
printf "%s\0" "$@"
exec stat -c "` + statFormat + `" "$@"
' univirt {} +
`

// mostListing bounds what a listing may have, and listings how often one is made in
// which something went meanwhile.
const (
	mostListing = 64 << 20
	listings    = 5
)

func (d *guestDir) list() (entries []fs.DirEntry, err error) {
	for range listings {
		out, complaint := limited{most: mostListing}, new(complaint)
		var exit compute.ExecExit
		if exit, err = d.g.a.script(d.g.ctx, compute.ExecSpec{Stdout: &out, Stderr: complaint}, lister, "/"+d.name); err != nil {
			return nil, err
		}
		if exit.Known && exit.Code == notThere {
			return nil, fs.ErrNotExist
		}
		if out.more {
			return nil, resource.Errorf(errdefs.ErrResourceExhausted, "the listing has more than %d bytes", mostListing)
		}
		if !exit.Known || exit.Cut {
			return nil, scriptError(exit, "", d.name, complaint)
		}
		if entries, err = parseListing(out.Bytes()); err == nil {
			return entries, nil
		}
	}
	return nil, err
}

// limited keeps output up to a bound.
type limited struct {
	bytes.Buffer
	most int
	more bool
}

func (l *limited) Write(b []byte) (int, error) {
	if l.Len()+len(b) > l.most {
		l.more = true
		return len(b), nil
	}
	return l.Buffer.Write(b)
}
