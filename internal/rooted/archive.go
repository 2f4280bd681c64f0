// Package rooted reads and writes the files below a directory that somebody else, who is
// hostile, writes to at the same time: the root of a container. No link leads out of it,
// no device of it is opened, and an archive is looked at as a whole before any of it is
// unpacked.
package rooted

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/internal/archives"
	"github.com/univirt/univirt/resource"
)

// Spool reads an archive and copies it to where it is unpacked from. One that is broken,
// or that has what does not belong into a file tree, is InvalidArgument: names that lead
// out, devices, and files with holes, which may be much larger than the archive is. The
// context is looked at between entries: a reader that may block ends by itself.
func Spool(ctx context.Context, archive io.Reader, to io.Writer) error {
	in := &archives.Reader{R: io.TeeReader(archive, to)}
	broken := func(err error) error {
		if in.Failed != nil {
			return in.Failed
		}
		return resource.Errorf(errdefs.ErrInvalidArgument, "the archive is broken: %w", err)
	}
	tr := tar.NewReader(in)
	for n := 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			if !in.Whole() {
				return broken(io.ErrUnexpectedEOF)
			}
			return nil
		}
		if err != nil {
			return broken(err)
		}
		if n == archives.MostEntries {
			return resource.Errorf(errdefs.ErrInvalidArgument, "the archive has more than %d files", archives.MostEntries)
		}
		if reason := refused(h); reason != "" {
			return resource.Errorf(errdefs.ErrInvalidArgument, "the archive has %s, which %s", resource.Quote(h.Name), reason)
		}
		if _, err := io.Copy(io.Discard, tr); err != nil {
			return broken(err)
		}
	}
}

// refused says why an entry is not unpacked; empty where it is.
func refused(h *tar.Header) string {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return ""
	}
	name, reason := archives.Harmless(h.Name)
	if reason != "" {
		return reason
	}
	if h.Uid < 0 || h.Gid < 0 || h.Size < 0 {
		return "has a negative owner or size"
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return ""
	case tar.TypeReg, tar.TypeCont:
		if sparse(h) {
			return "has holes"
		}
	case tar.TypeSymlink:
		if h.Linkname == "" || len(h.Linkname) > archives.MostPath || strings.ContainsRune(h.Linkname, 0) {
			return "is a link to nothing"
		}
	case tar.TypeLink:
		if _, reason := archives.Harmless(h.Linkname); reason != "" {
			return "is a link to what " + reason
		}
	case tar.TypeGNUSparse:
		return "has holes"
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return "is a device"
	default:
		return "is of a type that is not known"
	}
	if name == "." {
		return "is to replace the folder itself"
	}
	return ""
}

// sparse reports whether a file of an archive has holes: it can be large without there
// being much to read.
func sparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}
