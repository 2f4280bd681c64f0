package providertest

import (
	"bytes"
	"context"
	"io"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
)

func exportCancelled(e *env) {
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	err := e.returns("a cancelled Export", func() error {
		return e.p.Images().Export(ctx, cancelling{Writer: io.Discard, cancel: cancel}, []string{e.s.h.Image}, compute.ExportOptions{})
	})
	e.cancelled(err, context.Canceled)
	e.onlyTestImage()
	e.start(e.stopped("web"))
}

func exportStuck(e *env) {
	e.endsThoughStuck("an Export", func(ctx context.Context, s stuckStream) error {
		return e.p.Images().Export(ctx, s, []string{e.s.h.Image}, compute.ExportOptions{})
	})
	e.onlyTestImage()
	e.start(e.stopped("web"))
}

func exportImage(e *env) {
	images := e.importArchive(e.format())
	var b bytes.Buffer
	require.NoError(e, e.p.Images().Export(e.ctx, &b, []string{images[0].Names[0]}, compute.ExportOptions{}))
	require.NoError(e, e.p.Images().Delete(e.ctx, images[0].Ref.ID, compute.DeleteImageOptions{}))
	e.onlyTestImage()
	again, err := e.p.Images().Import(e.ctx, compute.ImageSource{Reader: &b, Format: e.format()}, e.under(images[0].Names[0]))
	require.NoError(e, err)
	require.Len(e, again, 1)
	require.Equal(e, images[0].Names, again[0].Names)
	require.Equal(e, images[0].Config, again[0].Config)
}

func exportNoImage(e *env) {
	const unknown = "localhost:1/no/such:image"
	asked := [][]string{{unknown}}
	if e.format() == compute.OCIArchive && e.s.h.Image != "" {
		asked = append(asked, []string{e.s.h.Image, unknown})
	}
	for _, names := range asked {
		var b bytes.Buffer
		err := e.p.Images().Export(e.ctx, &b, names, compute.ExportOptions{})
		e.fails(err, errdefs.ErrNotFound)
		require.Zero(e, b.Len(), "what was written of %q", names)
	}
}

func exportFailing(e *env) {
	err := e.returns("Export", func() error {
		return e.p.Images().Export(e.ctx, failingWriter{}, []string{e.s.h.Image}, compute.ExportOptions{})
	})
	require.ErrorIs(e, err, errNoRoom)
	e.wellFormedCause(err)
	e.onlyTestImage()
}
