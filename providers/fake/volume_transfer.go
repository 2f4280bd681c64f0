package fake

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

var _ storage.Transferer = (*volumeHandle)(nil)

// formatOf is the format of a mode's streams.
func formatOf(mode storage.Mode) storage.Format {
	if mode == storage.Block {
		return storage.Raw
	}
	return storage.Tar
}

// transfer is the frame of Export and Import: it finds the volume, passes on to the
// backend, and calls move with nothing locked.
func (h *volumeHandle) transfer(ctx context.Context, op Op, opts storage.TransferOptions, ready bool, move func(v *volume, report func(int64)) error) error {
	p, b := h.p, h.p.backend
	ref := h.refOf(h.id)
	err := p.offered(ctx, op)
	if err == nil {
		err = checkTransfer(opts, ready)
	}
	var v *volume
	var labels resource.Labels
	if err == nil {
		b.mu.Lock()
		var ok bool
		if v, ok = h.table.byID[h.id]; !ok {
			err = h.missing()
		} else {
			ref, labels = v.ref(), v.labels
			if want := formatOf(v.spec.Mode); opts.Format != want {
				err = resource.Faults{{Field: "format", Reason: fmt.Sprintf("must be %q for a %s volume", want, v.spec.Mode)}}
			}
		}
		b.mu.Unlock()
	}
	var late call
	if err == nil {
		late, err = p.reach(ctx, op, target{ref: ref, labels: labels})
	}
	if err == nil {
		r := newReporter(op.verb(), ref, opts.Progress)
		r.last.Total = opts.Size
		var told time.Time
		err = move(v, func(done int64) {
			r.last.Done = done
			if now := time.Now(); now.Sub(told) >= 100*time.Millisecond {
				told = now
				r.last.Total = max(r.last.Total, done)
				r.phase("copying")
			}
		})
		if err == nil {
			r.last.Total = r.last.Done
			r.phase("done")
		}
	}
	return h.fail(op, ref, late.done(err))
}

func checkTransfer(opts storage.TransferOptions, ready bool) error {
	faults := opts.Validate()
	if !ready {
		faults.Add("stream", "is required")
	}
	return faults.Err()
}

// Export writes the content that the volume has at the time of the call.
func (h *volumeHandle) Export(ctx context.Context, w io.Writer, opts storage.TransferOptions) error {
	return h.transfer(ctx, OpExportVolume, opts, w != nil, func(v *volume, report func(int64)) error {
		b := h.p.backend
		b.mu.Lock()
		b.files.Lock()
		root := v.fs.root.copyTree()
		b.files.Unlock()
		b.mu.Unlock()
		enter := func() error { return h.p.open(ctx) }
		var r io.Reader = newArchive(root, ".", false, enter)
		if root.content != nil {
			r = io.NewSectionReader(frozen{root.content}, 0, root.content.size)
		}
		return copyContext(ctx, h.p.writeTo(ctx, w), r, report)
	})
}

// frozen is content that nobody writes to.
type frozen struct{ c *content }

func (f frozen) ReadAt(b []byte, off int64) (int, error) { return f.c.readAt(b, off) }

// Import replaces the content. The stream is read whole before anything changes.
func (h *volumeHandle) Import(ctx context.Context, r io.Reader, opts storage.TransferOptions) error {
	return h.transfer(ctx, OpImportVolume, opts, r != nil, func(v *volume, report func(int64)) error {
		b := h.p.backend
		r := h.p.readFrom(ctx, r)
		root, room, err := h.mayRefill(v)
		if err != nil {
			return err
		}
		if opts.Format == storage.Tar {
			err = readTar(ctx, r, root, room, report)
		} else {
			root, err = readRaw(ctx, r, room, report)
		}
		if err != nil {
			return err
		}
		if err := h.p.open(ctx); err != nil {
			return err
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if v.gone {
			return h.missing()
		}
		if err := v.still(); err != nil {
			return err
		}
		b.files.Lock()
		defer b.files.Unlock()
		if root.content != nil {
			if root.content.end() > v.spec.Size {
				return errNoSpace
			}
			if err := root.content.truncate(v.spec.Size, nil); err != nil {
				return err
			}
		}
		return v.refill(root)
	})
}

// mayRefill says early why an import would fail, or returns an empty root and how
// many bytes there is room for.
func (h *volumeHandle) mayRefill(v *volume) (*node, int64, error) {
	b := h.p.backend
	b.mu.Lock()
	defer b.mu.Unlock()
	if v.gone {
		return nil, 0, h.missing()
	}
	if err := v.still(); err != nil {
		return nil, 0, err
	}
	b.files.RLock()
	defer b.files.RUnlock()
	if v.spec.Mode == storage.Block {
		return nil, v.spec.Size, nil
	}
	// What is there makes room.
	q := v.fs.quota
	return newFolder(0o755, v.spec.UID, v.spec.GID), saturated(q.room(), q.used.Load()), nil
}

func saturated(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// readTar reads an archive into a tree of its own.
func readTar(ctx context.Context, r io.Reader, root *node, room int64, report func(int64)) error {
	entries, err := readArchive(ctx, r, room, report)
	if err != nil {
		return err
	}
	fresh := &view{root: &mounted{fs: newFilesystem(root, nil), root: root}}
	return fresh.unpack(fresh.start(), entries, false)
}

// readRaw reads the bytes of a device; what is zero takes no memory.
func readRaw(ctx context.Context, r io.Reader, size int64, report func(int64)) (*node, error) {
	c := &content{}
	in := &counting{ctx: ctx, r: r, moved: report}
	buf, zeros := make([]byte, chunkSize), make([]byte, chunkSize)
	for {
		n, err := io.ReadFull(in, buf)
		if int64(n) > size-c.size {
			return nil, errNoSpace
		}
		if bytes.Equal(buf[:n], zeros[:n]) {
			c.size += int64(n)
		} else if _, err := c.writeAt(buf[:n], c.size, nil); err != nil {
			return nil, err
		}
		switch {
		case err == io.EOF, err == io.ErrUnexpectedEOF && in.failed == nil:
			c.charged = 0
			return newDevice(c), nil
		case in.failed != nil:
			return nil, in.failed
		case err != nil:
			return nil, err
		}
	}
}
