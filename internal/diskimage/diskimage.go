// Package diskimage reads what disk images say of themselves. All of it is
// hostile: an image can name files of the host that QEMU would open, promise more
// than it holds, and point anywhere.
//
// The format is QEMU's qcow2, versions 2 and 3
// (https://www.qemu.org/docs/master/interop/qcow2.html).
package diskimage

import (
	"bytes"
	"errors"
	"fmt"
)

// The kinds of what is wrong with an image. Errors of this package wrap one.
var (
	// ErrMalformed says that the content is not what its format wants.
	ErrMalformed = errors.New("is malformed")
	// ErrTruncated says that the image is longer than what there is of it.
	ErrTruncated = errors.New("is cut short")
	// ErrOutside says that the image refers to other files.
	ErrOutside = errors.New("refers to another file")
	// ErrUnknown says that the image needs what this package, or a program that has
	// no key, cannot do.
	ErrUnknown = errors.New("has a feature that is not supported")
)

func fault(kind error, format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{kind}, args...)...)
}

// Sector is the unit of a disk's size in bytes.
const Sector = 512

// Begin is how many bytes of an image's beginning its check needs, or all of one
// that is shorter.
const Begin = 64 << 10

// CheckRaw finds what is wrong with a raw image of a size, whose beginning is
// given. One that looks like a qcow2 image is refused: where anything guesses its
// format after all, the image could name files of the host.
func CheckRaw(begin []byte, size int64) error {
	switch {
	case bytes.HasPrefix(begin, magic):
		return fault(ErrMalformed, "it begins as a qcow2 image, which a raw one must not")
	case size == 0:
		return fault(ErrTruncated, "it is empty")
	case size%Sector != 0:
		return fault(ErrTruncated, "its %d bytes are no whole sectors of %d", size, Sector)
	}
	return nil
}
