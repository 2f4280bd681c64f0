// Package archives is what providers have in common about the tar archives by which an
// instance's files come and go: which names are harmless, and where an archive ends.
package archives

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/univirt/univirt/resource"
)

const (
	// End is the number of zeros that an archive ends with.
	End = 1024
	// MostEntries bounds what an archive of nothing but headers makes a process remember.
	MostEntries = 1 << 20
	// MostPath and MostName are Linux's bounds of a path and of a part of one.
	MostPath = 4095
	MostName = 255
)

// Harmless cleans a name of an archive, or says what is wrong with it.
func Harmless(name string) (clean, reason string) {
	switch {
	case name == "":
		return "", "has no name"
	case strings.HasPrefix(name, "/"):
		return "", "is absolute"
	case strings.ContainsRune(name, 0):
		return "", "contains NUL"
	case len(name) > MostPath:
		return "", "is too long"
	}
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "..":
			return "", "leads upwards"
		case len(part) > MostName:
			return "", "is too long"
		}
	}
	return path.Clean(name), ""
}

// CheckInside refuses what cannot be a path inside an instance.
func CheckInside(field, p string) error {
	reason := ""
	switch {
	case !strings.HasPrefix(p, "/"):
		reason = "must be an absolute path"
	case len(p) > MostPath:
		reason = fmt.Sprintf("must have at most %d bytes", MostPath)
	case strings.ContainsRune(p, 0):
		reason = "must not contain NUL"
	case slices.Contains(strings.Split(p, "/"), ".."):
		reason = "must not contain '..'"
	}
	if reason != "" {
		return resource.Faults{{Field: field, Reason: reason}}
	}
	return nil
}

// LastName is the name that an archive of a path begins with.
func LastName(p string) string {
	if name := path.Base(path.Clean(p)); name != "/" {
		return name
	}
	return "."
}

// Reader is an archive's stream that remembers how it ended.
type Reader struct {
	R io.Reader
	// Failed is the stream's own error, which is no fault of the archive.
	Failed error
	// total counts what was read, and zeros those at its end.
	total, zeros int64
}

// Read implements io.Reader.
func (r *Reader) Read(b []byte) (int, error) {
	n, err := r.R.Read(b)
	r.total += int64(n)
	if tail := len(bytes.TrimRight(b[:n], "\x00")); tail > 0 {
		r.zeros = int64(n - tail)
	} else {
		r.zeros += int64(n)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		r.Failed = err
	}
	return n, err
}

// Whole reports whether what was read ends as an archive does, or is nothing at all. One
// that does not was cut off, perhaps where nothing else would show it.
func (r *Reader) Whole() bool { return r.total == 0 || r.zeros >= End }
