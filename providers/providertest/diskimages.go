package providertest

import (
	"bytes"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

func diskImageCases() []testCase {
	disks := hasImages(compute.FeatureDisk, compute.FeatureImport)
	return []testCase{
		{"An image may be a disk", disks, importDisk},
		{"Import of a disk image tells its progress, and the end of it", all(disks, hasImages(compute.FeatureProgress)), importDiskProgress},
		{"Export of a disk image writes the bytes that were imported", all(disks, hasImages(compute.FeatureExport)), exportDisk},
		{"A name is the last disk image's that was imported under it", disks, importDiskAgain},
	}
}

const diskName = "localhost/disk:1"

// disk imports a raw disk of so much of one byte.
func (e *env) disk(content byte, opts compute.ImportOptions) compute.Image {
	e.Helper()
	opts.Name = diskName
	images, err := e.p.Images().Import(e.ctx, compute.ImageSource{Reader: bytes.NewReader(diskOf(content)), Format: compute.RawDisk}, opts)
	require.NoError(e, err)
	require.Len(e, images, 1)
	return images[0]
}

func diskOf(content byte) []byte { return bytes.Repeat([]byte{content}, 1<<20) }

func importDisk(e *env) {
	image := e.disk(0, compute.ImportOptions{})
	e.wellFormedRef(image.Ref, resource.KindImage)
	require.Equal(e, compute.Disk, image.Form)
	require.Equal(e, []string{diskName}, image.Names)
	_, err := e.p.Images().Import(e.ctx, compute.ImageSource{Reader: bytes.NewReader(nil), Format: compute.RawDisk}, compute.ImportOptions{})
	e.failsField(err, errdefs.ErrInvalidArgument, "name")
	e.deleteImage(diskName)
	e.noImage(diskName, image.Ref.ID)
}

func importDiskProgress(e *env) {
	var reports []resource.Progress
	e.disk('x', compute.ImportOptions{Progress: func(p resource.Progress) { reports = append(reports, p) }})
	require.NotEmpty(e, reports)
	var done int64
	for _, p := range reports {
		require.Equal(e, "import", p.Op)
		require.NotEmpty(e, p.Phase)
		require.GreaterOrEqual(e, p.Done, done, "what is done never shrinks")
		require.True(e, p.Total == 0 || p.Done <= p.Total, "%d of %d are done", p.Done, p.Total)
		done = p.Done
	}
	last := reports[len(reports)-1]
	require.Equal(e, "done", last.Phase)
	require.EqualValues(e, len(diskOf('x')), last.Done)
	require.Equal(e, last.Done, last.Total)
}

func exportDisk(e *env) {
	image := e.disk('x', compute.ImportOptions{})
	for _, format := range []compute.ImageFormat{"", compute.RawDisk} {
		for _, name := range []string{diskName, image.Ref.ID} {
			var out bytes.Buffer
			require.NoError(e, e.p.Images().Export(e.ctx, &out, []string{name}, compute.ExportOptions{Format: format}), "%s as %q", name, format)
			require.True(e, bytes.Equal(diskOf('x'), out.Bytes()), "%s as %q", name, format)
		}
	}
	var out bytes.Buffer
	err := e.p.Images().Export(e.ctx, &out, []string{diskName}, compute.ExportOptions{Format: compute.QCOW2})
	e.failsField(err, errdefs.ErrFailedPrecondition, "format")
	require.Zero(e, out.Len(), "what was written")
}

func importDiskAgain(e *env) {
	first, second := e.disk('a', compute.ImportOptions{}), e.disk('b', compute.ImportOptions{})
	require.NotEqual(e, first.Ref.ID, second.Ref.ID)
	got, err := e.p.Images().Get(e.ctx, diskName)
	require.NoError(e, err)
	require.Equal(e, second.Ref.ID, got.Ref.ID)
	e.noImage(first.Ref.ID)
	require.Equal(e, second.Ref.ID, e.disk('b', compute.ImportOptions{}).Ref.ID, "the same again")
	require.Len(e, e.imageIDs(), len(e.lane.images)+1)
}
