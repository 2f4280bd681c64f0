package libvirt

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

func TestAnImageAsItComes(t *testing.T) {
	disk := bytes.Repeat([]byte("disk"), 100_000)[:1<<18]
	for name, r := range map[string]io.Reader{
		"at once":      bytes.NewReader(disk),
		"byte by byte": iotest.OneByteReader(bytes.NewReader(disk)),
		"with its end": iotest.DataErrReader(bytes.NewReader(disk)),
		"half by half": iotest.HalfReader(bytes.NewReader(disk)),
	} {
		in := newIntake(r, compute.RawDisk)
		got, err := io.ReadAll(in)
		require.NoError(t, err, name)
		require.Equal(t, disk, got, name)
		f, err := in.facts()
		require.NoError(t, err, name)
		assert.Equal(t, fmt.Sprintf("sha256:%x", sha256.Sum256(disk)), f.Digest, name)
		assert.EqualValues(t, len(disk), f.VirtualSize, name)
	}
}

func TestWhatIsNoImage(t *testing.T) {
	endless := io.MultiReader(bytes.NewReader(make([]byte, 1<<20)), iotest.ErrReader(errors.New("read on")))
	for name, c := range map[string]struct {
		format compute.ImageFormat
		r      io.Reader
		kind   error
	}{
		"raw of nothing":           {compute.RawDisk, bytes.NewReader(nil), errdefs.ErrDataLoss},
		"raw that is not whole":    {compute.RawDisk, bytes.NewReader(make([]byte, 1000)), errdefs.ErrDataLoss},
		"qcow2 that is told raw":   {compute.RawDisk, bytes.NewReader([]byte("QFI\xfb is no raw image")), errdefs.ErrInvalidArgument},
		"qcow2 of nothing":         {compute.QCOW2, bytes.NewReader(nil), errdefs.ErrInvalidArgument},
		"raw that is told qcow2":   {compute.QCOW2, endless, errdefs.ErrInvalidArgument},
		"qcow2 that is cut in two": {compute.QCOW2, bytes.NewReader([]byte("QFI\xfb\x00\x00\x00\x03")), errdefs.ErrDataLoss},
	} {
		in := newIntake(c.r, c.format)
		_, err := io.Copy(io.Discard, in)
		if err == nil {
			_, err = in.facts()
		}
		require.ErrorIs(t, err, c.kind, name)
		var own *resource.Error
		require.ErrorAs(t, err, &own)
		assert.Equal(t, "reader", own.Field, name)
	}
}
