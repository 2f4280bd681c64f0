package libvirt

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/internal/archives"
	"github.com/univirt/univirt/resource"
)

// unpackRoom is how much an archive may have.
type unpackRoom struct {
	// size is what there is room for, bytes are what is left of it, and length is how
	// long files may still be, holes and all, which take no room.
	size, bytes, length int64
	entries             int
	// remembered is how many bytes of folders' names and attributes are kept until the end.
	remembered int
}

// mostRemembered bounds what an archive of nothing but folders makes this process remember.
const mostRemembered = 256 << 20

// mostSparse is how many times a filesystem's size its files may be, holes and all. It
// is what internal/ext4 exports at most.
const mostSparse = 64

func newUnpackRoom(size int64) *unpackRoom {
	return &unpackRoom{size: size, bytes: size, length: mostSparse * min(size, math.MaxInt64/mostSparse)}
}

func (r *unpackRoom) exhausted() error {
	return &resource.Error{Kind: errdefs.ErrResourceExhausted, Field: "stream", Err: errors.New("has more than the " + resource.FormatSize(r.size) + " that there is room for")}
}

// admit checks a header, of which it leaves what is unpacked, with its names clean and the
// extended attributes by their names alone, or says what is wrong with it.
func (r *unpackRoom) admit(h *tar.Header) (reason string) {
	name := h.Name
	if h.Name, reason = archives.Harmless(name); reason != "" {
		return reason
	}
	h.Mode &= 0o7777
	if r.entries++; r.entries > archives.MostEntries {
		return fmt.Sprintf("is one of more than %d files", archives.MostEntries)
	}
	if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) >= math.MaxUint32 || int64(h.Gid) >= math.MaxUint32 {
		return "has an owner that cannot be"
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		h.Typeflag = tar.TypeReg
	case tar.TypeSymlink:
		if h.Linkname == "" || len(h.Linkname) > archives.MostPath || strings.ContainsRune(h.Linkname, 0) {
			return "is a link to nothing"
		}
	case tar.TypeLink:
		if h.Linkname, reason = archives.Harmless(h.Linkname); reason != "" {
			return "is a link to what " + reason
		}
	case tar.TypeChar, tar.TypeBlock:
		if h.Devmajor < 0 || h.Devmajor > 0xFFF || h.Devminor < 0 || h.Devminor > 0xFFFFF {
			return "is a device that cannot be"
		}
	case tar.TypeDir, tar.TypeFifo:
	default:
		return "is of a type that is not known"
	}
	if h.Name == "." && h.Typeflag != tar.TypeDir {
		return "is to replace the root folder"
	}
	attributes := map[string]string{}
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, attributeKey)
		switch {
		case !ok:
			continue
		case !hasPrefixOf(name, "user.", "trusted.", "security.", "system.posix_acl_"):
			return "has the attribute " + resource.Quote(name) + ", which ext4 does not have"
		}
		attributes[name] = value
		r.remembered += len(name) + len(value)
	}
	if h.Typeflag == tar.TypeDir {
		r.remembered += len(h.Name)
	}
	if r.remembered > mostRemembered {
		return "has too much that is no content"
	}
	*h = tar.Header{
		Typeflag: h.Typeflag, Name: h.Name, Linkname: h.Linkname, Size: h.Size, Mode: h.Mode, Uid: h.Uid, Gid: h.Gid,
		ModTime: h.ModTime, Devmajor: h.Devmajor, Devminor: h.Devminor, PAXRecords: attributes,
	}
	return ""
}

// attributeKey is what the records of extended attributes begin with in an archive.
const attributeKey = "SCHILY.xattr."

func hasPrefixOf(s string, prefixes ...string) bool {
	for _, prefix := range prefixes {
		if strings.HasPrefix(s, prefix) {
			return true
		}
	}
	return false
}

// extTime is the nearest time that mke2fs writes.
func extTime(t time.Time) time.Time {
	return time.Unix(min(max(t.Unix(), math.MinInt32), math.MaxInt32), 0)
}

// eachEntry calls a function with the entries of an archive that may be unpacked.
func eachEntry(from io.Reader, room *unpackRoom, do func(*tar.Header, io.Reader) error) error {
	in := &archives.Reader{R: from}
	broken := func(err error) error {
		if in.Failed != nil {
			return in.Failed
		}
		return badStream(fmt.Errorf("the archive is broken: %w", err))
	}
	for r := tar.NewReader(in); ; {
		h, err := r.Next()
		switch {
		case errors.Is(err, io.EOF) && in.Whole():
			return nil
		case err != nil:
			return broken(err)
		case h.Typeflag == tar.TypeXGlobalHeader:
			continue
		}
		name := h.Name
		if reason := room.admit(h); reason != "" {
			return badStream(fmt.Errorf("the archive has %s, which %s", resource.Quote(name), reason))
		}
		failed := &archives.Reader{R: r}
		if err := do(h, failed); err != nil {
			if failed.Failed != nil {
				return broken(failed.Failed)
			}
			return unpackError(h.Name, err)
		}
	}
}

func badStream(err error) error {
	return &resource.Error{Kind: errdefs.ErrInvalidArgument, Field: "stream", Err: err}
}

// unpackError says what came of an entry. What this host does not do, and what there is no
// room for here, is no fault of the archive's.
func unpackError(name string, err error) error {
	if resource.KindOf(err) != nil {
		return err
	}
	var kind error = errdefs.ErrInvalidArgument
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.ENOMEM), errors.Is(err, syscall.EMFILE):
		kind = errdefs.ErrResourceExhausted
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		kind = errdefs.ErrPermissionDenied
	case errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EIO):
		kind = errdefs.ErrFailedPrecondition
	}
	return &resource.Error{Kind: kind, Field: "stream", Err: fmt.Errorf("%s of the archive: %w", resource.Quote(name), err)}
}
