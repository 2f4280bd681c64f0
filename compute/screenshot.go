package compute

import (
	"context"
	"image"

	"github.com/univirt/univirt/resource"
)

// Screenshotter is a virtual machine with a screen.
type Screenshotter interface {
	Instance
	// Screenshot returns a picture of the running instance's screen.
	Screenshot(ctx context.Context, opts ScreenshotOptions) (image.Image, error)
}

// ScreenshotOptions are the options of Screenshot.
type ScreenshotOptions struct {
	// Screen is the number of the screen, from 0.
	Screen int
}

// Validate reports every fault of the options. How many screens there are, the
// instance knows.
func (o ScreenshotOptions) Validate() resource.Faults {
	var f resource.Faults
	if o.Screen < 0 {
		f.Add("screen", "must not be negative")
	}
	return f
}

// Screenshot returns a picture of an instance's screen; errors.ErrUnsupported
// where it has none.
func Screenshot(ctx context.Context, inst Instance, opts ScreenshotOptions) (image.Image, error) {
	s, err := extension[Screenshotter](inst, "screenshot")
	if err != nil {
		return nil, err
	}
	return s.Screenshot(ctx, opts)
}
