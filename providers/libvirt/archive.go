package libvirt

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/archives"
	"github.com/univirt/univirt/resource"
)

// Archives are written anew on their way into a guest and out of it: nobody gets a
// name that was not looked at, and a guest gets a form that every tar reads.

// repack copies an archive. What may be in it says admit, which may change a header,
// or returns what is wrong with it. A fault of the archive is InvalidArgument; the
// errors of the reader and of the writer stay as they are.
func repack(to io.Writer, from io.Reader, admit func(*tar.Header) (reason string)) error {
	in, out := &archives.Reader{R: from}, &failing{w: to}
	broken := func(err error) error {
		switch {
		case in.Failed != nil:
			return in.Failed
		case out.failed != nil:
			return out.failed
		}
		return badArchive(fmt.Errorf("the archive is broken: %w", err))
	}
	r, w := tar.NewReader(in), tar.NewWriter(out)
	for n := 0; ; n++ {
		h, err := r.Next()
		if errors.Is(err, io.EOF) && !in.Whole() {
			err = io.ErrUnexpectedEOF
		}
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			if err := w.Close(); err != nil {
				return broken(err)
			}
			return nil
		}
		if err != nil {
			return broken(err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if n == archives.MostEntries {
			return badArchive(fmt.Errorf("the archive has more than %d files", archives.MostEntries))
		}
		name := h.Name
		if reason := admit(h); reason != "" {
			return badArchive(fmt.Errorf("the archive has %s, which %s", resource.Quote(name), reason))
		}
		if err := w.WriteHeader(&tar.Header{
			Typeflag: h.Typeflag, Name: h.Name, Linkname: h.Linkname, Size: h.Size, Mode: h.Mode, Uid: h.Uid, Gid: h.Gid,
			Uname: h.Uname, Gname: h.Gname, ModTime: h.ModTime, Devmajor: h.Devmajor, Devminor: h.Devminor, Format: tar.FormatGNU,
		}); err != nil {
			return broken(err)
		}
		if _, err := io.Copy(w, r); err != nil {
			return broken(err)
		}
	}
}

func badArchive(err error) error {
	return &resource.Error{Kind: errdefs.ErrInvalidArgument, Field: "archive", Err: err}
}

// failing is a writer that remembers what it failed with.
type failing struct {
	w      io.Writer
	failed error
}

func (f *failing) Write(b []byte) (int, error) {
	n, err := f.w.Write(b)
	if err != nil {
		f.failed = err
	}
	return n, err
}

// inbound says what may be unpacked in a guest: nothing that could be written
// anywhere but below the folder, by links of the archive neither. By links that are
// there already the guest looks itself, at the places where a way leads.
type inbound struct {
	opts compute.CopyOptions
	// links are what was a link last, of either kind.
	links map[string]bool
	// ways are the folders that something is written into, or that are written.
	ways []string
	seen map[string]bool
}

func newInbound(opts compute.CopyOptions) *inbound {
	return &inbound{opts: opts, links: map[string]bool{}, seen: map[string]bool{}}
}

func (in *inbound) admit(h *tar.Header) (reason string) {
	name, reason := archives.Harmless(h.Name)
	if reason == "" {
		reason = in.way(name, h.Typeflag == tar.TypeDir)
	}
	if reason != "" {
		return reason
	}
	if h.Uid < 0 || h.Gid < 0 {
		return "has a negative owner"
	}
	h.Name = name
	delete(in.links, name)
	switch h.Typeflag {
	case tar.TypeDir:
		h.Name += "/"
	case tar.TypeReg, tar.TypeCont:
		h.Typeflag = tar.TypeReg
		for key := range h.PAXRecords {
			if strings.HasPrefix(key, "GNU.sparse.") {
				return "has holes"
			}
		}
	case tar.TypeGNUSparse:
		return "has holes"
	case tar.TypeSymlink:
		if h.Linkname == "" || len(h.Linkname) > archives.MostPath || strings.ContainsRune(h.Linkname, 0) {
			return "is a link to nothing"
		}
		in.links[name] = true
	case tar.TypeLink:
		target, reason := archives.Harmless(h.Linkname)
		if reason == "" {
			reason = in.way(target, false)
		}
		if reason != "" {
			return "is a link to what " + reason
		}
		h.Linkname = target
		in.links[name] = true
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return "is a device"
	default:
		return "is of a type that is not known"
	}
	if name == "." && h.Typeflag != tar.TypeDir {
		return "is to replace the folder itself"
	}
	// What its owner is called is of the archive's host.
	h.Uname, h.Gname = "", ""
	if in.opts.NoOwner {
		h.Uid, h.Gid = 0, 0
	}
	return ""
}

// way notes the folders on the way to a name, none of which may be a link of the
// archive's.
func (in *inbound) way(name string, folder bool) (reason string) {
	var ways []string
	if folder {
		ways = append(ways, name)
	}
	for p := path.Dir(name); p != "."; p = path.Dir(p) {
		ways = append(ways, p)
	}
	slices.Reverse(ways)
	for _, p := range ways {
		if in.links[p] {
			return "goes through a link of the archive"
		}
		if p != "." && !in.seen[p] {
			in.seen[p] = true
			in.ways = append(in.ways, p)
		}
	}
	return ""
}

// lines writes the ways as the script that unpacks reads them: each on a line, the
// backslashes and line breaks of which are written as printf's %b has them, and an
// empty one.
func (in *inbound) lines() string {
	var b strings.Builder
	for _, way := range in.ways {
		for n := range len(way) {
			if c := way[n]; c == '\\' || c == '\n' {
				fmt.Fprintf(&b, `\0%03o`, c)
			} else {
				b.WriteByte(c)
			}
		}
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	return b.String()
}

// outbound says what an archive of a path may have, which a guest has made: what is
// below the path's last part.
type outbound struct {
	opts compute.CopyOptions
	base string
}

func (out outbound) admit(h *tar.Header) (reason string) {
	name, reason := out.below(h.Name)
	if reason != "" {
		return reason
	}
	h.Name = name
	switch h.Typeflag {
	case tar.TypeDir:
		h.Name += "/"
	case tar.TypeGNUSparse, tar.TypeCont:
		h.Typeflag = tar.TypeReg
	case tar.TypeLink:
		if h.Linkname, reason = out.below(h.Linkname); reason != "" {
			return "is a link to what " + reason
		}
	case tar.TypeReg, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
	default:
		return "is of a type that is not known"
	}
	if out.opts.NoOwner {
		h.Uid, h.Gid, h.Uname, h.Gname = 0, 0, "", ""
	}
	return ""
}

func (out outbound) below(name string) (clean, reason string) {
	clean, reason = archives.Harmless(name)
	if reason == "" && out.base != "." && clean != out.base && !strings.HasPrefix(clean, out.base+"/") {
		reason = "was not asked for"
	}
	return clean, reason
}

// checkInside refuses what cannot be a path inside a guest, whose agent speaks JSON.
func checkInside(field, p string) error {
	if !utf8.ValidString(p) {
		return resource.Faults{{Field: field, Reason: "must be UTF-8"}}
	}
	return archives.CheckInside(field, p)
}
