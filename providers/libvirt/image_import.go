//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"io"
	"math"
	"time"

	"github.com/containerd/errdefs"
	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/callbacks"
	"github.com/univirt/univirt/internal/outlive"
	"github.com/univirt/univirt/resource"
)

// importTime is how long an import may take. Until then nobody who cannot see
// whether its maker lives takes it for abandoned.
const importTime = 24 * time.Hour

// Import implements compute.Images. The image is checked as it comes, and its tables
// when it is there.
func (s images) Import(ctx context.Context, source compute.ImageSource, opts compute.ImportOptions) (out []compute.Image, err error) {
	err = s.do(ctx, "import", opts.Name, checkImport(source, opts), func(ctx context.Context) error {
		if !isDiskFormat(source.Format) {
			return &resource.Error{Kind: errors.ErrUnsupported, Field: "format", Err: errors.New(noContainers)}
		}
		ref := s.ref(fullImageName(opts.Name))
		m := newMeter(opts.Progress, "import", ref)
		m.moved(0, source.Size)
		img, err := s.take(ctx, source, opts, m)
		m.finish(err)
		if err == nil {
			out = []compute.Image{s.info(img, opts.Name)}
		}
		return err
	})
	return out, err
}

func checkImport(source compute.ImageSource, opts compute.ImportOptions) resource.Faults {
	faults := append(source.Validate(), opts.Validate()...)
	if isDiskFormat(source.Format) && opts.Name == "" {
		faults.Add("name", "is required for a disk image")
	}
	return faults
}

func isDiskFormat(f compute.ImageFormat) bool {
	return f == compute.QCOW2 || f == compute.RawDisk
}

// take brings an image in, or leaves nothing of it.
func (s images) take(ctx context.Context, source compute.ImageSource, opts compute.ImportOptions, m *meter) (*diskImage, error) {
	ctx, cancel := context.WithTimeout(ctx, importTime)
	defer cancel()
	// What is undone must not overtake the call that makes it.
	var taken *diskImage
	err := s.p.seenThrough(ctx, compute.CleanupTimeout, func(ctx context.Context) (err error) {
		taken, err = s.make(ctx, source, opts, m)
		return err
	})
	if err != nil {
		return nil, err
	}
	return taken, nil
}

// make is take, with a context that outlives the caller's.
func (s images) make(ctx context.Context, source compute.ImageSource, opts compute.ImportOptions, m *meter) (*diskImage, error) {
	id := resource.NewID()
	// The record has a name of its own: those of the image may be another's now.
	doc, err := document{Name: id, ID: id, Created: time.Now().UTC()}.
		begun(making, s.p.owner.Generation, importTime).
		withImage(imageFacts{Format: source.Format})
	if err != nil {
		return nil, err
	}
	if _, err := s.records().create(ctx, doc); err != nil {
		return nil, s.undo(ctx, id, err)
	}
	facts, err := s.fill(ctx, id, source, opts, m)
	if err != nil {
		return nil, s.undo(ctx, id, err)
	}
	facts.Platform = opts.Platform
	kept, err := s.keep(ctx, id, facts, fullImageName(opts.Name))
	if err != nil {
		return nil, s.undo(ctx, id, err)
	}
	if kept != id {
		// The same is there already.
		if err := s.drop(ctx, id); err != nil {
			s.p.opts.Logger.Warn("an image that was there already takes room twice", "image", facts.Digest, "error", err)
		}
	}
	s.settle(ctx, fullImageName(opts.Name))
	return s.find(ctx, facts.Digest)
}

// fill brings the content, and returns what it is.
func (s images) fill(ctx context.Context, id string, source compute.ImageSource, opts compute.ImportOptions, m *meter) (imageFacts, error) {
	none, asked := imageFacts{}, outlive.Asked(ctx)
	file, pool := imageFile(id), s.p.opts.Pool
	_, err := onPool(ctx, s.p, pool, func(_ *lv.Connect, pool *lv.StoragePool) (struct{}, error) {
		v, err := makeFile(pool, rawFile(file, 0), nil)
		if err != nil {
			return struct{}{}, err
		}
		return struct{}{}, v.Free()
	})
	if err != nil {
		return none, err
	}
	m.phase("copying")
	in := newIntake(source.Reader, source.Format)
	size, err := s.p.upload(asked, pool, file, in, math.MaxInt64, func(done int64) { m.moved(done, source.Size) })
	if err != nil {
		return none, err
	}
	facts, err := in.facts()
	if err != nil {
		return none, err
	}
	m.moved(size, size)
	m.phase("verifying")
	if source.Format == compute.QCOW2 {
		if err := in.header.Check(fileReader{asked, s.p, pool, file}, size); err != nil {
			return none, badImage(err)
		}
	}
	info, err := onVolume(ctx, s.p, pool, file, func(_ *lv.Connect, v *lv.StorageVol) (*lv.StorageVolInfo, error) { return v.GetInfo() })
	if err != nil {
		return none, err
	}
	facts.Size = int64(info.Allocation)
	if opts.Verify != nil {
		_, err := callbacks.Run(s.p.alive, func() (struct{}, error) {
			return struct{}{}, opts.Verify(asked, fullImageName(opts.Name), facts.Digest)
		})
		if err != nil {
			return none, refusal(err)
		}
	}
	return facts, givenUp(ctx)
}

// refusal gives what a caller's own function says a kind, where it has none.
func refusal(err error) error {
	if resource.KindOf(err) != nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &resource.Error{Kind: errdefs.ErrPermissionDenied, Err: err}
}

// keep gives a name to what came in: to the image that is the same, where there is
// one, else to the new one. It returns the ID of the record that has it.
func (s images) keep(ctx context.Context, id string, facts imageFacts, name string) (string, error) {
	c, err := s.catalogue(ctx)
	if err != nil {
		return "", err
	}
	since := time.Now()
	if there := c.byID[facts.Digest]; there != nil {
		for _, d := range there.docs {
			err := s.amend(ctx, d.ID, func(d document, f imageFacts) (document, error) {
				if d.hidden() {
					return d, errNoImage()
				}
				return d.withImage(f.named(name, since))
			})
			if err == nil {
				return d.ID, nil
			}
			if !isNotFound(err) {
				return "", err
			}
			// It is on its way out.
		}
	}
	err = s.amend(ctx, id, func(d document, _ imageFacts) (document, error) {
		return d.ended().withImage(facts.named(name, since))
	})
	return id, err
}

// amend changes what a record says of an image.
func (s images) amend(ctx context.Context, id string, change func(document, imageFacts) (document, error)) error {
	_, err := s.records().amend(ctx, id, func(d document) (document, error) {
		f, err := d.image()
		if err != nil {
			return d, err
		}
		return change(d, f)
	})
	return err
}

// settle takes a name from the images that had it before, and removes those that
// have no other and that nobody uses. What cannot be done now is done when the name
// is given the next time, or by a caller: everybody sees already whose the name is.
func (s images) settle(ctx context.Context, name string) {
	c, err := s.catalogue(ctx)
	if err != nil {
		s.p.opts.Logger.Warn("images that have lost their name may be left", "name", name, "error", err)
		return
	}
	for _, img := range c.all {
		if img == c.byName[name] || !img.claims(name) {
			continue
		}
		var err error
		if len(img.names) > 0 {
			err = s.unname(ctx, img, name)
		} else if err = s.remove(ctx, img); errors.Is(err, errdefs.ErrFailedPrecondition) {
			err = s.unname(ctx, img, name)
		}
		if err != nil {
			s.p.opts.Logger.Warn("an image that has lost its name stays", "image", img.Digest, "name", name, "error", err)
		}
	}
}

// undo removes what was made of an import that failed.
func (s images) undo(ctx context.Context, id string, cause error) error {
	clean, cancel := s.p.cleanup(ctx)
	defer cancel()
	err := s.drop(clean, id)
	if err == nil {
		return undone(ctx, cause)
	}
	s.p.later(ctx, func(ctx context.Context) bool { return s.drop(ctx, id) == nil })
	return outlive.NotUndone(cause, err, s.p.ref(resource.KindImage, "", id))
}

// drop removes a file and then its record.
func (s images) drop(ctx context.Context, id string) error {
	if err := s.p.removeFile(ctx, s.p.opts.Pool, imageFile(id)); err != nil {
		return err
	}
	return s.records().remove(ctx, document{Kind: resource.KindImage, Namespace: s.p.opts.Namespace, Name: id, ID: id})
}

func errNoImage() error { return resource.Errorf(errdefs.ErrNotFound, "no such image") }

// fileReader reads parts of a file of the pool.
type fileReader struct {
	ctx        context.Context
	p          *Provider
	pool, file string
}

var _ io.ReaderAt = fileReader{}

// ReadAt implements io.ReaderAt.
func (r fileReader) ReadAt(b []byte, at int64) (int, error) {
	return onVolume(r.ctx, r.p, r.pool, r.file, func(c *lv.Connect, v *lv.StorageVol) (n int, err error) {
		begin := func(s *lv.Stream) error { return v.Download(s, uint64(at), uint64(len(b)), 0) }
		err = streaming(c, begin, func(s *lv.Stream) error {
			rest := make([]byte, 1)
			for {
				into := b[n:]
				if len(into) == 0 {
					into = rest // the end is told with a read
				}
				got, err := s.Recv(into)
				if errors.Is(err, io.EOF) || n == len(b) {
					return nil
				}
				if err != nil {
					return err
				}
				n += got
			}
		})
		if err == nil && n < len(b) {
			err = io.ErrUnexpectedEOF
		}
		return n, err
	})
}
