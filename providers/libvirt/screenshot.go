//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"image"
	"io"

	"github.com/containerd/errdefs"
	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

var _ compute.Screenshotter = (*instance)(nil)

// Screenshot implements compute.Screenshotter.
func (i *instance) Screenshot(ctx context.Context, opts compute.ScreenshotOptions) (image.Image, error) {
	ctx, done, err := i.p.begin(ctx)
	if err != nil {
		return nil, i.fail("screenshot", err)
	}
	defer done()
	picture, err := i.screenshot(ctx, opts)
	if err != nil {
		return nil, i.fail("screenshot", err)
	}
	return picture, nil
}

func (i *instance) screenshot(ctx context.Context, opts compute.ScreenshotOptions) (image.Image, error) {
	if i.p.inProcess() {
		return nil, resource.Unsupported("screenshot", noGuests)
	}
	if err := opts.Validate().Err(); err != nil {
		return nil, err
	}
	d, err := i.load(ctx)
	if err != nil {
		return nil, err
	}
	if !d.state.Active() {
		return nil, resource.Errorf(errdefs.ErrFailedPrecondition, "the instance is %s", d.state)
	}
	if opts.Screen > 0 {
		return nil, &resource.Error{Kind: errdefs.ErrInvalidArgument, Field: "screen", Err: errors.New("there is one screen, of the number 0")}
	}
	type shot struct {
		mime string
		data []byte
	}
	got, err := call(ctx, i.p, func(c *lv.Connect) (shot, error) {
		d, err := c.LookupDomainByUUIDString(i.id)
		if err != nil {
			return shot{}, err
		}
		defer d.Free()
		s, err := c.NewStream(0)
		if err != nil {
			return shot{}, err
		}
		defer s.Free()
		mime, err := d.Screenshot(s, 0, 0)
		if err != nil {
			return shot{}, err
		}
		data, err := receiveAll(s, mostPicture)
		return shot{mime, data}, err
	})
	if isNotFound(err) {
		return nil, errNotFound()
	}
	if err != nil {
		return nil, err
	}
	picture, err := parsePicture(got.mime, got.data)
	if err != nil {
		return nil, resource.Errorf(errdefs.ErrDataLoss, "the picture of the screen: %w", err)
	}
	return picture, nil
}

// receiveAll reads a stream to its end.
func receiveAll(s *lv.Stream, most int) ([]byte, error) {
	var data []byte
	buffer := make([]byte, 256<<10)
	for {
		n, err := s.Recv(buffer)
		switch {
		case errors.Is(err, io.EOF):
			return data, s.Finish()
		case err == nil && len(data)+n > most:
			err = errTooLarge
		}
		if err != nil {
			_ = s.Abort()
			return nil, err
		}
		data = append(data, buffer[:max(0, n)]...)
	}
}
