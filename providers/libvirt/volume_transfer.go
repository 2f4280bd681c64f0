//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"io"

	"github.com/univirt/univirt/internal/outlive"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

var _ storage.Transferer = (*volume)(nil)

// checkTransfer finds what is wrong with the options whatever the volume is.
func checkTransfer(opts storage.TransferOptions, ready bool) func() error {
	return func() error {
		faults := opts.Validate()
		if !ready {
			faults.Add("stream", "is required")
		}
		return faults.Err()
	}
}

// transferable refuses a format that is not the volume's.
func (v volumeFacts) transferable(format storage.Format) error {
	if want := formatOf(v.spec.Mode); format != want {
		return resource.Faults{{Field: "format", Reason: "must be " + string(want) + " for a " + string(v.spec.Mode) + " volume"}}.Err()
	}
	return nil
}

// Export implements storage.Transferer. What is zero for long is left as holes where w
// is a file at whose end is written. Of a volume that a machine runs with, or of one
// of qcow2, a copy is made first. A filesystem is told as it is on the disk: what a guest
// that runs has not written so far is not there. Its sockets are left out, as is an empty
// lost+found, and a hole is zeros of its length: whoever does not trust the guest bounds w.
// A damaged filesystem is DataLoss, and one that is no ext4 FailedPrecondition.
func (v *volume) Export(ctx context.Context, w io.Writer, opts storage.TransferOptions) error {
	return v.change(ctx, "export", func(ctx context.Context, facts volumeFacts) (err error) {
		if err := facts.transferable(opts.Format); err != nil {
			return err
		}
		asked := outlive.Asked(ctx)
		report := newReporter(opts.Progress, "export", facts.ref(), opts.Size)
		defer func() { report.end(err) }()
		from := content{source: facts.spec.Pool, from: facts.file()}
		if from.live, err = v.p.running(ctx, v.id); err != nil {
			return err
		}
		if from.size, err = v.p.sizeOf(ctx, from.source, from.from); err != nil {
			return err
		}
		if facts.spec.Mode == storage.Filesystem {
			return v.exportTree(ctx, from, w, report.moved)
		}
		if from.live.disk == "" && facts.Disk == formatRaw {
			return v.p.download(asked, from.source, from.from, w, report.moved)
		}
		return v.withCopy(ctx, from, func(file string) error { return v.p.download(asked, from.source, file, w, report.moved) })
	}, checkTransfer(opts, w != nil))
}

// withCopy calls a function with the name of a raw copy of a file, in the same pool, which
// is gone afterwards.
func (v *volume) withCopy(ctx context.Context, from content, do func(file string) error) (err error) {
	file := v.id + "." + resource.NewID() + exportSuffix
	defer func() {
		clean, cancel := v.p.cleanup(ctx)
		defer cancel()
		err = errors.Join(err, v.p.removeFile(clean, from.source, file))
	}()
	if err := v.p.copyTo(outlive.Asked(ctx), from.source, describeDisk(file, formatRaw, from.size, false), from); err != nil {
		return err
	}
	return do(file)
}

// The ends of the names of files that are needed on the way only.
const (
	exportSuffix = ".export"
	importSuffix = ".import"
	copySuffix   = ".copy"
)

// Import implements storage.Transferer. A disk whose import does not end well is empty.
// An archive is made a filesystem of on this host first, so that a volume stays as it was
// where there is a fault in that, or more than there is room for; times are in whole
// seconds. It is unpacked in Options.StateDir, for which this process must be root, to
// keep the owners.
func (v *volume) Import(ctx context.Context, r io.Reader, opts storage.TransferOptions) error {
	return v.change(ctx, "import", func(ctx context.Context, facts volumeFacts) (err error) {
		if err := facts.transferable(opts.Format); err != nil {
			return err
		}
		tree := facts.spec.Mode == storage.Filesystem
		if opts.Size > facts.spec.Size && !tree {
			return tooMuch(facts.spec.Size)
		}
		if err := v.p.still(ctx, v.id); err != nil {
			return err
		}
		if err := givenUp(ctx); err != nil {
			return err
		}
		report := newReporter(opts.Progress, "import", facts.ref(), opts.Size)
		defer func() { report.end(err) }()
		asked, cancel := context.WithCancel(outlive.Asked(ctx))
		defer cancel()
		parts := readParts(asked, r, report.moved)
		switch {
		case tree:
			return v.importTree(ctx, asked, facts, parts)
		case facts.Disk == formatRaw:
			return v.importInto(ctx, asked, facts, parts, facts.spec.Size)
		}
		return v.importThrough(ctx, asked, facts, parts)
	}, checkTransfer(opts, r != nil))
}

// importInto fills the volume's file itself, which is made anew and holds so many bytes.
func (v *volume) importInto(ctx, asked context.Context, facts volumeFacts, parts <-chan part, size int64) error {
	d, err := facts.written()
	if err != nil {
		return err
	}
	d = d.begun(filling, v.p.owner.Generation, makingTime)
	d.Home = v.p.home
	if facts.document, err = v.records().revise(ctx, d); err != nil {
		return err
	}
	pool, err := v.p.pool(ctx, facts.spec.Pool)
	if err == nil {
		err = v.p.removeFile(ctx, pool.name, facts.file())
	}
	if err == nil {
		err = v.p.makeRoom(ctx, pool.name, describeDisk(facts.file(), facts.Disk, size, facts.bounded()))
	}
	if err == nil {
		_, err = v.p.fillFrom(asked, pool.name, facts.file(), parts, size)
	}
	if err == nil {
		_, err = v.records().revise(ctx, facts.ended())
		return err
	}
	clean, cancel := v.p.cleanup(ctx)
	defer cancel()
	if _, undone := v.refill(clean, facts); undone != nil {
		v.p.opts.Logger.Warn("a volume whose import failed is emptied when it is used next", "volume", v.id, "error", undone)
	}
	return err
}

// importThrough fills another file first, which the volume's is made of then.
func (v *volume) importThrough(ctx, asked context.Context, facts volumeFacts, parts <-chan part) (err error) {
	pool, file := facts.spec.Pool, v.id+"."+resource.NewID()+importSuffix
	whole := content{pool: poolFacts{name: pool}, size: facts.spec.Size}
	defer func() {
		clean, cancel := v.p.cleanup(ctx)
		defer cancel()
		if err != nil {
			// The record may say that the content is in it: the next use takes it from there.
			if now, unread := v.load(clean); unread != nil || now.Refill == file {
				return
			}
		}
		err = errors.Join(err, v.p.removeFile(clean, pool, file))
	}()
	if err := v.p.makeRoom(ctx, pool, describeDisk(file, formatRaw, whole.size, false)); err != nil {
		return err
	}
	if _, err := v.p.fillFrom(asked, pool, file, parts, whole.size); err != nil {
		return err
	}
	if err := givenUp(ctx); err != nil {
		return err
	}
	_, err = v.replace(ctx, facts, file)
	return err
}
