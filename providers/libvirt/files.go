//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/archives"
	"github.com/univirt/univirt/resource"
)

var _ compute.Filer = (*instance)(nil)

// The codes by which scripts in the guest say what is wrong.
const (
	notThere = 63
	noDir    = 64
	leadsOut = 65
	noTar    = 66
	noStat   = 67
)

// unpacker unpacks an archive that comes behind the folders that are on the way to
// what is in it: where one is a link that is there already, it must not lead out.
const unpacker = `
[ -e "$1" ] || exit 63
cd -P "$1" 2>/dev/null || exit 64
command -v tar >/dev/null || exit 66
root=$(pwd -P)
[ "$root" = / ] && root=
while IFS= read -r p && [ -n "$p" ]; do
	case $p in *\\*) p=$(printf '%b_' "$p"); p=${p%_} ;; esac
	[ -L "./$p" ] || continue
	to=$(cd -P "./$p" 2>/dev/null && pwd -P) || exit 65
	case $to/ in "$root"/*) ;; *) exit 65 ;; esac
done
keep=
case $(tar --help 2>&1) in *--keep-directory-symlink*) keep=--keep-directory-symlink ;; esac
exec tar -x -p -f - $keep
`

// packer makes an archive. GNU tar ends with 1 where a file was written meanwhile,
// which is no fault.
const packer = `
tar -c -f - -C "$1" "./$2"
code=$?
if [ $code = 1 ]; then case $(tar --version 2>&1) in *GNU*) code=0 ;; esac; fi
exit $code
`

// reachFiles is the error of what needs the guest's files, which are reached by its
// agent alone.
func (i *instance) reachFiles(ctx context.Context) error {
	d, err := i.load(ctx)
	if err == nil && d.state != compute.Running {
		err = resource.Errorf(errdefs.ErrUnavailable, "the instance is %s, and the files of a virtual machine are reached while it runs", d.state)
	}
	return err
}

// withFiles runs an operation on the guest's files.
func (i *instance) withFiles(ctx context.Context, op string, check func() error, do func(ctx context.Context, a qemuAgent) error) error {
	ctx, done, err := i.p.begin(ctx)
	if err != nil {
		return i.fail(op, err)
	}
	defer done()
	if i.p.inProcess() {
		return i.fail(op, resource.Unsupported(op, noGuests))
	}
	if err = check(); err == nil {
		err = i.reachFiles(ctx)
	}
	if err == nil {
		err = do(ctx, qemuAgent{p: i.p, id: i.id})
	}
	return i.fail(op, err)
}

// CopyIn implements compute.Filer. The archive is read as a whole before the guest
// gets anything of it.
func (i *instance) CopyIn(ctx context.Context, dir string, archive io.Reader, opts compute.CopyOptions) error {
	return i.withFiles(ctx, "copy in", func() error {
		if archive == nil {
			return resource.Faults{{Field: "archive", Reason: "is required"}}
		}
		return checkInside("dir", dir)
	}, func(ctx context.Context, a qemuAgent) error {
		spool, ways, err := i.p.spool(ctx, archive, opts)
		if err != nil {
			return err
		}
		defer spool.Close()
		var complaint complaint
		exit, err := a.script(ctx, compute.ExecSpec{Stdin: io.MultiReader(strings.NewReader(ways), spool), Stderr: &complaint}, unpacker, dir)
		if err != nil {
			return err
		}
		return a.scriptError(ctx, exit, "dir", dir, &complaint)
	})
}

// spool reads an archive into a file without a name, and returns that and what the
// guest is to look at. It does not wait for a Read of the caller's when the context
// has ended.
func (p *Provider) spool(ctx context.Context, archive io.Reader, opts compute.CopyOptions) (*os.File, string, error) {
	f, err := os.CreateTemp(p.opts.StateDir, ".archive-*")
	if err == nil {
		err = os.Remove(f.Name())
	}
	if err != nil {
		return nil, "", fmt.Errorf("keep the archive: %w", err)
	}
	in, read := newInbound(opts), make(chan error, 1)
	go func() {
		err := repack(f, archive, in.admit)
		if err == nil {
			_, err = f.Seek(0, io.SeekStart)
		}
		read <- err
	}()
	select {
	case err = <-read:
		if err == nil {
			return f, in.lines(), nil
		}
	case <-ctx.Done():
		err = ended(ctx)
	}
	// Whoever still writes into it fails.
	_ = f.Close()
	return nil, "", err
}

// script runs a script in the guest to its end, or to that of the context.
func (a qemuAgent) script(ctx context.Context, spec compute.ExecSpec, script string, args ...string) (compute.ExecExit, error) {
	spec.Process.Command = append([]string{"/bin/sh", "-c", script, "univirt"}, args...)
	x, err := a.exec(ctx, spec)
	if err != nil {
		return compute.ExecExit{}, err
	}
	exit, err := x.Wait(ctx)
	if err != nil {
		a.tidy(ctx, func(ctx context.Context) { _ = x.Signal(ctx, "SIGKILL") })
		if ctx.Err() != nil {
			err = ended(ctx)
		}
		return compute.ExecExit{}, err
	}
	return exit, nil
}

// scriptError is the error of a script that did not do all, or of which that is not known:
// an agent tells the end of a process once, and the answer may be lost.
func (a qemuAgent) scriptError(ctx context.Context, exit compute.ExecExit, field, name string, complaint *complaint) error {
	if exit.Known {
		return scriptError(exit, field, name, complaint)
	}
	if d, err := a.p.read(ctx, a.id); err == nil && d.state == compute.Running {
		return &resource.Error{Kind: errdefs.ErrUnavailable, Err: errors.New("how it ended is not known"), Outcome: resource.OutcomeUnknown}
	}
	return scriptError(exit, field, name, complaint)
}

// scriptError is the error of a script whose end is known, or that its guest took along.
func scriptError(exit compute.ExecExit, field, name string, complaint *complaint) error {
	var kind error = errdefs.ErrFailedPrecondition
	text := complaint.String()
	switch {
	case !exit.Known:
		return resource.Errorf(errdefs.ErrAborted, "the guest has ended meanwhile")
	case exit.Cut:
		return resource.Errorf(errdefs.ErrAborted, "the guest has not sent all")
	case exit.Code == 0:
		return nil
	case exit.Code == notThere:
		kind, text = errdefs.ErrNotFound, "is not there: "+resource.Quote(name)
	case exit.Code == noDir:
		kind, text = errdefs.ErrInvalidArgument, "is no directory: "+resource.Quote(name)
	case exit.Code == leadsOut:
		field, kind, text = "archive", errdefs.ErrInvalidArgument, "goes through a link of the guest's that leads out of the directory"
	case exit.Code == noTar:
		field, text = "", "the guest has no tar"
	case exit.Code == noStat:
		field, text = "", "the guest has no stat or no find"
	default:
		field, kind = "", complaintKind(text)
		text = fmt.Sprintf("the guest's tar ends with %d and says %s", exit.Code, resource.Quote(text))
	}
	return &resource.Error{Kind: kind, Field: field, Err: errors.New(text)}
}

// complaint keeps the beginning of what a program complains of.
type complaint struct{ bytes.Buffer }

const mostComplaint = 1 << 10

func (c *complaint) Write(b []byte) (int, error) {
	_, _ = c.Buffer.Write(b[:min(len(b), mostComplaint-c.Len())])
	return len(b), nil
}

// CopyOut implements compute.Filer.
func (i *instance) CopyOut(ctx context.Context, name string, opts compute.CopyOptions) (io.ReadCloser, error) {
	var out *copyOut
	whole := ctx
	err := i.withFiles(ctx, "copy out", func() error { return checkInside("path", name) }, func(ctx context.Context, a qemuAgent) error {
		exit, err := a.run(ctx, shell(`[ -e "$1" ] || [ -L "$1" ] || exit 63; command -v tar >/dev/null || exit 66`, name))
		if err == nil {
			err = scriptError(exit, "path", name, new(complaint))
		}
		if err != nil {
			return err
		}
		out, err = i.copyOut(ctx, whole, a, path.Clean(name), opts)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// copyOut is an archive that a guest makes.
type copyOut struct {
	*io.PipeReader
	end  context.CancelFunc
	once sync.Once
}

// Close ends the archive, and the program in the guest that makes it. Closing twice is
// nil.
func (c *copyOut) Close() error {
	c.once.Do(c.end)
	return c.PipeReader.Close()
}

// copyOut begins to make an archive. The context bounds that, and whole all of it.
func (i *instance) copyOut(ctx, whole context.Context, a qemuAgent, name string, opts compute.CopyOptions) (*copyOut, error) {
	fromGuest, intoHost := io.Pipe()
	r, w := io.Pipe()
	base := archives.LastName(name)
	var complaint complaint
	x, err := a.exec(ctx, compute.ExecSpec{
		Process: compute.Process{Command: []string{"/bin/sh", "-c", packer, "univirt", path.Dir(name), base}},
		Stdout:  intoHost, Stderr: &complaint,
	})
	if err != nil {
		return nil, err
	}
	whole, end := context.WithCancel(whole)
	i.p.detached.Go(func() {
		defer end()
		exit, err := x.Wait(whole)
		if err != nil {
			// Whoever reads or does not is not waited for, and waits for nobody.
			if whole.Err() != nil {
				err = whole.Err()
			}
			_ = intoHost.CloseWithError(err)
			_ = w.CloseWithError(i.fail("copy out", err))
			clean, cancel := i.p.cleanup(whole)
			defer cancel()
			_ = x.Signal(clean, "SIGKILL")
			return
		}
		_ = intoHost.CloseWithError(a.scriptError(whole, exit, "path", name, &complaint))
	})
	i.p.detached.Go(func() {
		err := repack(w, fromGuest, outbound{opts, base}.admit)
		if err == nil {
			// It is whole when the guest says so.
			_, err = io.Copy(io.Discard, fromGuest)
		}
		var own *resource.Error
		if errors.As(err, &own) && own.Field == "archive" {
			err = resource.Errorf(errdefs.ErrDataLoss, "what the guest sends is not what was asked for: %w", err)
		}
		_ = fromGuest.CloseWithError(err)
		_ = w.CloseWithError(i.fail("copy out", err))
		end()
	})
	return &copyOut{PipeReader: r, end: end}, nil
}

// Files implements compute.Filer.
func (i *instance) Files(ctx context.Context) (fs.FS, error) {
	err := i.withFiles(ctx, "files", func() error { return nil }, func(ctx context.Context, a qemuAgent) error {
		exit, err := a.run(ctx, shell(`command -v stat >/dev/null && command -v find >/dev/null || exit 67`))
		if err == nil {
			err = scriptError(exit, "", "", new(complaint))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return guestFiles{ctx, i, qemuAgent{p: i.p, id: i.id}}, nil
}
