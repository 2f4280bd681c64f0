package libvirt

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPictures(t *testing.T) {
	picture, err := parsePicture("image/x-portable-pixmap", []byte("P6\n2 1\n255\n\x01\x02\x03\xff\x00\xff"))
	require.NoError(t, err)
	assert.Equal(t, image.Rect(0, 0, 2, 1), picture.Bounds())
	assert.Equal(t, color.RGBA{1, 2, 3, 255}, picture.At(0, 0))
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, picture))
	again, err := parsePicture("image/png", b.Bytes())
	require.NoError(t, err)
	assert.Equal(t, picture.Bounds(), again.Bounds())
}

// FuzzPicture holds that no picture takes more memory than a screen has.
func FuzzPicture(f *testing.F) {
	f.Add("image/x-portable-pixmap", []byte("P6\n2 1\n255\n\x01\x02\x03\xff\x00\xff"))
	f.Add("image/x-portable-pixmap", []byte("P6\n99999999 99999999\n255\n"))
	f.Add("image/x-portable-pixmap", []byte("P6\n-1 1\n255\n"))
	f.Add("image/png", []byte("\x89PNG\r\n\x1a\n"))
	f.Fuzz(func(t *testing.T, mime string, data []byte) {
		if picture, err := parsePicture(mime, data); err == nil {
			size := picture.Bounds().Size()
			require.True(t, sizeable(size.X, size.Y))
		}
	})
}
