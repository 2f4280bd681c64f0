package libvirt

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"strings"

	"libvirt.org/go/libvirtxml"
)

// screens are those of a machine: one, on which what boots it can be seen, too. It
// costs a boot less than what two boots differ by.
func screens(arch string) []libvirtxml.DomainVideo {
	model := "virtio"
	if arch == "x86_64" || arch == "i686" {
		model = "vga"
	}
	return []libvirtxml.DomainVideo{{Model: libvirtxml.DomainVideoModel{Type: model}}}
}

const (
	// mostPixels and mostPicture bound a screenshot, whose size the guest decides.
	mostPixels  = 64 << 20
	mostPicture = 4*mostPixels + 1<<10
)

var errTooLarge = errors.New("the picture is larger than any screen")

// parsePicture reads a screenshot, which QEMU makes as PNG or, before its release
// 7.1, as PPM.
func parsePicture(mime string, data []byte) (image.Image, error) {
	if strings.Contains(mime, "pixmap") || strings.Contains(mime, "ppm") {
		return parsePPM(data)
	}
	config, err := png.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if !sizeable(config.Width, config.Height) {
		return nil, errTooLarge
	}
	return png.Decode(bytes.NewReader(data))
}

func sizeable(width, height int) bool {
	return width > 0 && height > 0 && width <= mostPixels && height <= mostPixels/width
}

// parsePPM reads a portable pixmap of eight bits a colour
// (https://netpbm.sourceforge.net/doc/ppm.html), without comments, of which QEMU
// writes none.
func parsePPM(data []byte) (image.Image, error) {
	r := bufio.NewReader(bytes.NewReader(data))
	var width, height, depth int
	if _, err := fmt.Fscanf(r, "P6\n%d %d\n%d\n", &width, &height, &depth); err != nil {
		return nil, fmt.Errorf("the head of the pixmap: %w", err)
	}
	if depth != 255 {
		return nil, fmt.Errorf("the pixmap has colours of up to %d", depth)
	}
	if !sizeable(width, height) {
		return nil, errTooLarge
	}
	if len(data) < 3*width*height {
		return nil, io.ErrUnexpectedEOF
	}
	picture := image.NewRGBA(image.Rect(0, 0, width, height))
	row := make([]byte, 3*width)
	for y := range height {
		if _, err := io.ReadFull(r, row); err != nil {
			return nil, err
		}
		for x := range width {
			picture.SetRGBA(x, y, color.RGBA{row[3*x], row[3*x+1], row[3*x+2], 0xff})
		}
	}
	return picture, nil
}
