package compute

import (
	"context"
	"io"
	"iter"

	"github.com/univirt/univirt/resource"
)

// AbsentImages returns Images of which every method answers
// errors.ErrUnsupported with the reason given: what a provider without images
// returns from its accessor.
func AbsentImages(reason string) Images { return absentImages{reason} }

type absentImages struct{ reason string }

var _ Images = absentImages{}

func (a absentImages) fail(op, name string) error {
	return resource.Fail(op, resource.Ref{Kind: resource.KindImage, Name: name}, resource.Unsupported("images", a.reason))
}

func (a absentImages) Pull(_ context.Context, ref string, _ PullOptions) (Image, error) {
	return Image{}, a.fail("pull", ref)
}

func (a absentImages) Import(_ context.Context, _ ImageSource, opts ImportOptions) ([]Image, error) {
	return nil, a.fail("import", opts.Name)
}

func (a absentImages) Export(context.Context, io.Writer, []string, ExportOptions) error {
	return a.fail("export", "")
}

func (a absentImages) Get(_ context.Context, nameOrID string) (Image, error) {
	return Image{}, a.fail("get", nameOrID)
}

func (a absentImages) List(context.Context, ImageFilter) iter.Seq2[Image, error] {
	return func(yield func(Image, error) bool) { yield(Image{}, a.fail("list", "")) }
}

func (a absentImages) Delete(_ context.Context, nameOrID string, _ DeleteImageOptions) error {
	return a.fail("delete", nameOrID)
}
