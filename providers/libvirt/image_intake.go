package libvirt

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/diskimage"
	"github.com/univirt/univirt/resource"
)

// intake reads an image, and ends with an error as soon as its beginning shows that
// it is none that could be used.
type intake struct {
	r      io.Reader
	format compute.ImageFormat
	sum    hash.Hash
	size   int64
	begin  []byte
	// looked says that the beginning is known, and header what a qcow2 image says.
	looked bool
	header diskimage.QCOW2
}

func newIntake(r io.Reader, format compute.ImageFormat) *intake {
	return &intake{r: r, format: format, sum: sha256.New()}
}

// Read implements io.Reader.
func (in *intake) Read(b []byte) (int, error) {
	n, err := in.r.Read(b)
	_, _ = in.sum.Write(b[:n])
	in.size += int64(n)
	if missing := diskimage.Begin - len(in.begin); missing > 0 {
		in.begin = append(in.begin, b[:min(n, missing)]...)
	}
	if !in.looked && (len(in.begin) == diskimage.Begin || errors.Is(err, io.EOF)) {
		in.looked = true
		if wrong := in.look(); wrong != nil {
			return n, badImage(wrong)
		}
	}
	return n, err
}

func (in *intake) look() (err error) {
	if in.format == compute.RawDisk {
		// How long it is shows at its end.
		return diskimage.CheckRaw(in.begin, diskimage.Sector)
	}
	if in.header, err = diskimage.ReadQCOW2(in.begin); err == nil {
		err = in.header.Whole()
	}
	return err
}

// facts returns what the image is, when all of it was read.
func (in *intake) facts() (imageFacts, error) {
	f := imageFacts{Digest: "sha256:" + hex.EncodeToString(in.sum.Sum(nil)), Format: in.format, VirtualSize: in.header.VirtualSize}
	if in.format == compute.RawDisk {
		f.VirtualSize = in.size
		if err := diskimage.CheckRaw(in.begin, in.size); err != nil {
			return f, badImage(err)
		}
	}
	return f, nil
}

// badImage says of what is wrong with an image where that came from.
func badImage(err error) error {
	var kind error = errdefs.ErrInvalidArgument
	switch {
	case errors.Is(err, diskimage.ErrTruncated):
		kind = errdefs.ErrDataLoss
	case !errors.Is(err, diskimage.ErrMalformed) && !errors.Is(err, diskimage.ErrOutside) && !errors.Is(err, diskimage.ErrUnknown):
		return err
	}
	return &resource.Error{Kind: kind, Field: "reader", Err: err}
}
