package containerd

import (
	"context"
	"io"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// Import reads images from an archive, which is read to its end, and unpacks
// them: all of them get their names, or none. What the archive holds beside them
// is not kept.
//
// An archive of the wrong shape is InvalidArgument with the field "source"; one
// that ends too early, or whose content is not what its digests say, is
// DataLoss. Where the context ends in the middle of a call of source.Reader,
// that call is not waited for.
func (s *imageStore) Import(ctx context.Context, source compute.ImageSource, opts compute.ImportOptions) ([]compute.Image, error) {
	out, err := s.importArchive(ctx, source, opts)
	if err != nil {
		return nil, resource.Fail("import", s.ref(opts.Name, ""), err)
	}
	return out, nil
}

func (s *imageStore) importArchive(ctx context.Context, source compute.ImageSource, opts compute.ImportOptions) (_ []compute.Image, err error) {
	ctx, free, done, err := s.p.beginWith(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	name, read, err := checkImport(source, opts)
	if err != nil {
		return nil, err
	}
	platform, faults := choosePlatform(opts.Platform)
	if err := faults.Err(); err != nil {
		return nil, err
	}
	progress := newProgress(opts.Progress, "import", s.ref(name, ""), phaseCopying)
	stream, stop := readFrom(ctx, source.Reader)
	defer func() { free(); stop(); progress.finish(err) }()

	var brought []*broughtImage
	err = s.underLease(ctx, collect, func(ctx context.Context) error {
		a := newArchive(s, &counted{Reader: stream, total: source.Size, progress: progress})
		listed, err := read(ctx, a)
		if err != nil {
			return err
		}
		names, err := chooseNames(listed, name)
		if err != nil {
			return err
		}
		i := &install{store: s, source: a, platform: platform, verify: opts.Verify, progress: progress, fetching: phaseUnpacking}
		byID := make(map[digest.Digest]*broughtImage)
		for _, n := range names {
			image := byID[n.target.Digest]
			if image == nil {
				if image, err = s.importOne(ctx, i, n); err != nil {
					return err
				}
				byID[n.target.Digest] = image
				brought = append(brought, image)
			} else if err := i.check(ctx, n); err != nil {
				return err
			}
			image.same = append(image.same, images.Image{Name: n.name, Target: n.target})
		}
		return s.name(ctx, names)
	})
	if err != nil {
		return nil, translate(ctx, err)
	}
	var out []compute.Image
	for _, image := range brought {
		out = append(out, s.describe(image.name, image.same, image.content))
	}
	return out, nil
}

// broughtImage is an image of an archive with the first of its names there. Same are
// the records of its ID.
type broughtImage struct {
	name    string
	same    []images.Image
	content *imageContent
}

// importOne brings an image of an archive, which gets its names later.
func (s *imageStore) importOne(ctx context.Context, i *install, n named) (*broughtImage, error) {
	content, err := i.run(ctx, n)
	if errdefs.IsNotFound(err) {
		return nil, malformed("%w", withoutKind{err})
	}
	if err != nil {
		return nil, err
	}
	same, err := s.sameTarget(ctx, n.target.Digest)
	return &broughtImage{n.name, same, content}, err
}

// archiveReader reads an archive into the store and returns what it lists.
type archiveReader func(ctx context.Context, a *archive) ([]listed, error)

// listed is an image of an archive, with the names that the archive gives it.
type listed struct {
	named
	// unnamed says that the archive gives it none.
	unnamed bool
}

// checkImport checks the arguments and returns the name in full, if there is
// one, and the reader of the format.
func checkImport(source compute.ImageSource, opts compute.ImportOptions) (name string, read archiveReader, err error) {
	if err := append(source.Validate(), opts.Validate()...).Err(); err != nil {
		return "", nil, err
	}
	switch source.Format {
	case compute.OCIArchive:
		read = readOCI
	case compute.DockerArchive:
		read = readDocker
	case compute.QCOW2, compute.RawDisk:
		unsupported := resource.Unsupported("importing "+string(source.Format), "containers have no disk images")
		unsupported.Field = "format"
		return "", nil, unsupported
	}
	if opts.Name != "" {
		r, err := compute.ParseImageReference(opts.Name)
		if err != nil {
			return "", nil, err
		}
		name = r.String()
	}
	return name, read, nil
}

// chooseNames applies the caller's name, if there is one, and leaves out what
// has none.
func chooseNames(all []listed, name string) ([]named, error) {
	var out []named
	ids := make(map[digest.Digest]bool)
	for _, l := range all {
		ids[l.target.Digest] = true
		if !l.unnamed {
			out = append(out, l.named)
		}
	}
	switch {
	case len(all) == 0:
		return nil, badArchive("it has no images")
	case name != "" && len(ids) > 1:
		return nil, resource.Faults{{Field: "name", Reason: "cannot be that of all images of the archive, which has several"}}
	case name != "":
		return []named{{name, all[0].target}}, nil
	case len(out) == 0:
		return nil, resource.Faults{{Field: "name", Reason: "is required: the archive names no image"}}
	}
	return out, nil
}

// archiveName checks a name that an archive gives to an image. A digest in it
// must be the image's, or whoever trusts the digest would be deceived.
func archiveName(text string, id digest.Digest) (string, error) {
	r, err := compute.ParseImageReference(text)
	if err != nil {
		return "", badArchive("it names an image %.200q: %s", text, resource.FaultsOf(err)[0].Reason)
	}
	if r.Digest != "" && r.Digest != id.String() {
		return "", badArchive("it names the image %s %.200q", id, text)
	}
	return r.String(), nil
}

// badArchive is the error of an archive of the wrong shape.
func badArchive(format string, args ...any) *resource.Error {
	e := resource.Errorf(errdefs.ErrInvalidArgument, "the archive is not of its format: "+format, args...)
	e.Field = "source"
	return e
}

// counted reports how much of the archive has been read.
type counted struct {
	io.Reader
	done, total int64
	progress    *progress
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.done += int64(n)
	c.progress.bytes(c.done, c.total)
	return n, err
}
