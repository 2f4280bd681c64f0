package containerd

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/univirt/univirt/resource"
)

const (
	// maxFiles bounds the files of an archive that are remembered, and maxTrailer
	// what may follow its end: tar programs fill up their last block.
	maxFiles   = 20_000
	maxTrailer = 1 << 20
)

// archive is a tar stream whose files go into the store as they come, for their
// order is anybody's choice and the list of what they mean may be last. It is
// the source of the images in it.
type archive struct {
	store *imageStore
	tar   *tar.Reader
	rest  io.Reader
	files int
	// sizes are those of the content that came out of the archive.
	sizes map[digest.Digest]int64
}

var _ source = (*archive)(nil)

func newArchive(s *imageStore, r io.Reader) *archive {
	return &archive{store: s, tar: tar.NewReader(r), rest: r, sizes: make(map[digest.Digest]int64)}
}

// each calls f for every file and link of the archive, with its path made plain.
func (a *archive) each(f func(name string, header *tar.Header) error) error {
	for {
		header, err := a.tar.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return archiveFault(err)
		}
		switch header.Typeflag {
		case tar.TypeReg, tar.TypeSymlink, tar.TypeLink:
		default:
			continue
		}
		if a.files++; a.files > maxFiles {
			return badArchive("it has more than %d files", maxFiles)
		}
		if err := f(path.Join("/", header.Name)[1:], header); err != nil {
			return err
		}
	}
	if a.files == 0 {
		return badArchive("it has no files")
	}
	n, err := io.Copy(io.Discard, io.LimitReader(a.rest, maxTrailer+1))
	switch {
	case err != nil:
		return archiveFault(err)
	case n > maxTrailer:
		return badArchive("more than %d bytes follow its end", maxTrailer)
	}
	return nil
}

// archiveFault tells an archive that breaks off from what is none.
func archiveFault(err error) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return malformed("the archive breaks off: %w", err)
	case errors.Is(err, tar.ErrHeader):
		return badArchive("%w", err)
	}
	return err
}

// text reads a small file.
func (a *archive) text(header *tar.Header) ([]byte, error) {
	if header.Typeflag != tar.TypeReg {
		return nil, badArchive("%.200q is a link", header.Name)
	}
	if header.Size > maxDocument {
		return nil, badArchive("%.200q has %d bytes; at most %d are read", header.Name, header.Size, maxDocument)
	}
	data, err := io.ReadAll(a.tar)
	return data, archiveFault(err)
}

// blob stores the file that is being read. Where the digest is known beforehand,
// content that has not that digest is DataLoss. Magic is how it begins.
func (a *archive) blob(ctx context.Context, header *tar.Header, known digest.Digest) (desc ocispec.Descriptor, magic []byte, err error) {
	r := bufio.NewReader(a.tar)
	magic, _ = r.Peek(4)
	magic = bytes.Clone(magic)
	if header.Size <= 0 {
		// Containerd stores nothing empty, and no image has use for it.
		return ocispec.Descriptor{}, nil, nil
	}
	lease, _ := leases.FromContext(ctx)
	ref := fmt.Sprintf("%s-%d", lease, a.files)
	w, err := a.store.ingester().Writer(ctx, content.WithRef(ref), content.WithDescriptor(ocispec.Descriptor{Digest: known, Size: header.Size}))
	if errdefs.IsAlreadyExists(err) {
		a.sizes[known] = header.Size
		return ocispec.Descriptor{Digest: known, Size: header.Size}, magic, nil
	}
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	defer w.Close()
	// What another namespace of the daemon has is there from the beginning.
	status, err := w.Status()
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	if status.Offset == 0 {
		// Not content.Copy, which may seek and start again.
		if _, err := io.CopyBuffer(onlyWriter{w}, onlyReader{r}, make([]byte, streamBuffer)); err != nil {
			return ocispec.Descriptor{}, nil, archiveFault(err)
		}
	}
	id := cmp.Or(known, w.Digest())
	err = w.Commit(ctx, header.Size, id)
	switch {
	case errdefs.IsFailedPrecondition(err):
		return ocispec.Descriptor{}, nil, malformed("%.200q is something else than its name says", header.Name)
	case err != nil && !errdefs.IsAlreadyExists(err):
		return ocispec.Descriptor{}, nil, err
	}
	a.sizes[id] = header.Size
	return ocispec.Descriptor{Digest: id, Size: header.Size}, magic, nil
}

// has checks that the archive holds what one of its documents refers to.
func (a *archive) has(desc ocispec.Descriptor) error {
	size, held := a.sizes[desc.Digest]
	switch {
	case !held:
		return resource.Errorf(errdefs.ErrNotFound, "%s is not in the archive", desc.Digest)
	case size != desc.Size:
		return malformed("%s has %d bytes and is announced with %d", desc.Digest, size, desc.Size)
	}
	return nil
}

// document returns a document of the archive. One that is missing is NotFound,
// so that it is passed over where another may do.
func (a *archive) document(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	if err := a.has(desc); err != nil {
		return nil, err
	}
	return a.store.readStored(ctx, desc)
}

func (a *archive) layer(_ context.Context, desc ocispec.Descriptor) error { return a.has(desc) }
