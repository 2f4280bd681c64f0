package providertest

import (
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
)

func imageNameCases() []testCase {
	imports := all(hasImages(compute.FeatureImport), hook("Archive"))
	return []testCase{
		{"Delete of one of an image's names leaves the others", imports, deleteOneName},
		{"Delete of an image's last name removes the image", imports, deleteLastName},
		{"Delete of an image by its ID removes all of its names", imports, deleteByID},
	}
}

// named imports an image once for each name, and returns its ID.
func (e *env) named(names ...string) string {
	e.Helper()
	id := ""
	for _, name := range names {
		b, _ := e.archive(e.format())
		images, err := e.p.Images().Import(e.ctx, compute.ImageSource{Reader: b, Format: e.format()}, compute.ImportOptions{Name: name})
		require.NoError(e, err, name)
		require.Len(e, images, 1)
		require.Contains(e, []string{"", images[0].Ref.ID}, id, "the ID under the name %s", name)
		id = images[0].Ref.ID
	}
	image, err := e.p.Images().Get(e.ctx, id)
	require.NoError(e, err)
	require.Equal(e, sorted(names), image.Names)
	return id
}

func (e *env) deleteImage(nameOrID string) {
	e.Helper()
	require.NoError(e, e.p.Images().Delete(e.ctx, nameOrID, compute.DeleteImageOptions{}), "delete %s", nameOrID)
}

// noImage requires that there is no image of these names or IDs.
func (e *env) noImage(namesOrIDs ...string) {
	e.Helper()
	for _, nameOrID := range namesOrIDs {
		_, err := e.p.Images().Get(e.ctx, nameOrID)
		e.fails(err, errdefs.ErrNotFound)
		e.fails(e.p.Images().Delete(e.ctx, nameOrID, compute.DeleteImageOptions{}), errdefs.ErrNotFound)
	}
}

const firstName, secondName = "localhost/own/first:1", "localhost/own/second:2"

func deleteOneName(e *env) {
	id := e.named(firstName, secondName)
	e.deleteImage(firstName)
	e.noImage(firstName)
	for _, nameOrID := range []string{secondName, id} {
		image, err := e.p.Images().Get(e.ctx, nameOrID)
		require.NoError(e, err, nameOrID)
		require.Equal(e, id, image.Ref.ID)
		require.Equal(e, []string{secondName}, image.Names)
	}
	spec := e.spec("web", "sleep", "1h")
	spec.Image = secondName
	require.Equal(e, id, e.info(e.create(spec)).Image.ID)
}

func deleteLastName(e *env) {
	id := e.named(firstName, secondName)
	e.deleteImage(firstName)
	e.deleteImage(secondName)
	e.noImage(firstName, secondName, id)
	e.onlyTestImage()
}

func deleteByID(e *env) {
	id := e.named(firstName, secondName)
	e.deleteImage(id)
	e.noImage(firstName, secondName, id)
	e.onlyTestImage()
}
