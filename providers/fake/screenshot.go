package fake

import (
	"context"
	pixels "image"
	"image/color"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

var _ compute.Screenshotter = (*handle)(nil)

// Screenshot returns a small picture that depends on the instance and its run.
func (h *handle) Screenshot(ctx context.Context, opts compute.ScreenshotOptions) (pixels.Image, error) {
	if err := h.p.open(ctx); err != nil {
		return nil, h.fail(OpScreenshot, err)
	}
	if err := opts.Validate().Err(); err != nil {
		return nil, h.fail(OpScreenshot, err)
	}
	var picture *pixels.Gray
	err := h.use(ctx, OpScreenshot, compute.OpAttach, func(i *instance) error {
		if opts.Screen != 0 {
			return resource.Faults{{Field: "screen", Reason: "must be 0: there is one screen"}}
		}
		if err := h.p.lively(ctx, i, compute.OpAttach); err != nil {
			return err
		}
		const width, height = 32, 24
		picture = pixels.NewGray(pixels.Rect(0, 0, width, height))
		text := i.run.exit.Run + i.id
		for n := range width * height {
			picture.SetGray(n%width, n/width, color.Gray{Y: text[n%len(text)] * byte(1+n/width)})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return picture, nil
}
