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
	if v.spec.Mode != storage.Block {
		return resource.Unsupported(string(storage.FeatureTransfer), noTrees)
	}
	return nil
}

// Export implements storage.Transferer. What is zero for long is left as holes where w
// is a file at whose end is written. Of a volume that a machine runs with, or of one
// of qcow2, a copy is made first.
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
		if from.live.disk == "" && facts.Disk == formatRaw {
			return v.p.download(asked, from.source, from.from, w, report.moved)
		}
		if from.size, err = v.p.sizeOf(ctx, from.source, from.from); err != nil {
			return err
		}
		file := v.id + "." + resource.NewID() + exportSuffix
		defer func() {
			clean, cancel := v.p.cleanup(ctx)
			defer cancel()
			err = errors.Join(err, v.p.removeFile(clean, from.source, file))
		}()
		if err := v.p.copyTo(asked, from.source, describeDisk(file, formatRaw, from.size, false), from); err != nil {
			return err
		}
		return v.p.download(asked, from.source, file, w, report.moved)
	}, checkTransfer(opts, w != nil))
}

// The ends of the names of files that are needed on the way only.
const (
	exportSuffix = ".export"
	importSuffix = ".import"
	copySuffix   = ".copy"
)

// Import implements storage.Transferer. A volume whose import does not end well is
// empty.
func (v *volume) Import(ctx context.Context, r io.Reader, opts storage.TransferOptions) error {
	return v.change(ctx, "import", func(ctx context.Context, facts volumeFacts) (err error) {
		if err := facts.transferable(opts.Format); err != nil {
			return err
		}
		if opts.Size > facts.spec.Size {
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
		if facts.Disk == formatRaw {
			return v.importInto(ctx, asked, facts, parts)
		}
		return v.importThrough(ctx, asked, facts, parts)
	}, checkTransfer(opts, r != nil))
}

// importInto fills the volume's file itself, which is empty until then.
func (v *volume) importInto(ctx, asked context.Context, facts volumeFacts, parts <-chan part) error {
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
		err = v.p.makeEmpty(ctx, facts, pool)
	}
	if err == nil {
		_, err = v.p.fillFrom(asked, pool.name, facts.file(), parts, facts.spec.Size)
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
