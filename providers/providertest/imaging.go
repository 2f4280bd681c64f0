package providertest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"slices"
	"sync"
	"testing/iotest"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

func imageCases() []testCase {
	images := hook("Image")
	archives := hasImages(compute.FeatureRootFS)
	exports := all(images, hasImages(compute.FeatureExport))
	pull := all(hasImages(compute.FeaturePull), hook("Remote"))
	imports := all(hasImages(compute.FeatureImport), hook("Archive"))
	cases := []testCase{
		{"Get finds an image by a name, its full name, and its ID", images, getImage},
		{"Get of an unknown image is NotFound", images, getNoImage},
		{"List yields the images that match", images, listImages},
		{"Delete of an image in use is FailedPrecondition, also by force", images, deleteImageInUse},
		{"Delete of an unknown image is NotFound", images, deleteNoImage},
		{"Pull brings an image that is ready for use", pull, pullImage},
		{"Pull of what is there brings the same", pull, pullTwice},
		{"Many Pulls of one image at the same time bring one", pull, pullRace},
		{"Pulls of one reference at the same time share one download", all(pull, hook("Fresh")), pullShared},
		{"A Pull that is cancelled leaves those alone that share its download", all(pull, hook("Fresh"), hasImages(compute.FeatureProgress)), pullSharedCancelled},
		{"Create pulls what is missing, where the policy says so", pull, createPulls},
		{"Pull tells its progress, layer by layer, and the end of it", all(pull, hasImages(compute.FeatureProgress)), pullProgress},
		{"Pull asks Verify before it unpacks, and a refusal leaves nothing behind", pull, pullVerify},
		{"A Pull that is cancelled in its middle leaves nothing behind", pull, pullCancelled},
		{"Pull of an image that the registry has not is NotFound", all(hasImages(compute.FeaturePull), hook("Gone")), pullGone},
		{"Pull from a registry that does not answer is Unavailable", hasImages(compute.FeaturePull), pullUnavailable},
		{"Pull for a platform that the image was not made for is FailedPrecondition", pull, pullPlatform},
		{"Import reads an OCI archive", all(archives, imports), func(e *env) { importImage(e, compute.OCIArchive) }},
		{"Import reads a Docker archive", all(archives, imports), func(e *env) { importImage(e, compute.DockerArchive) }},
		{"Import names an image as it is told", imports, importNamed},
		{"Import of what is there under another name tells both names", imports, importRenamed},
		{"Import of an image that the archive names twice tells it once, with both names", all(archives, imports, hasImages(compute.FeatureExport)), importTwiceNamed},
		{"Import of a damaged archive is InvalidArgument or DataLoss and leaves nothing behind", imports, importDamaged},
		{"Import of a stream that fails tells so and leaves nothing behind", imports, importFailing},
		{"Import asks Verify, and a refusal leaves nothing behind", imports, importVerify},
		{"An Import that is cancelled in its middle leaves nothing behind", imports, importCancelled},
		{"An Import whose reader blocks ends with its context", imports, importStuck},
		{"An Export whose writer blocks ends with its context", exports, exportStuck},
		{"An Export that is cancelled in its middle ends and leaves the image alone", exports, exportCancelled},
		{"Export writes what Import reads", all(imports, hasImages(compute.FeatureExport)), exportImage},
		{"Export of an unknown image is NotFound and writes nothing", hasImages(compute.FeatureExport), exportNoImage},
		{"Export to a writer that fails tells so and leaves the image alone", exports, exportFailing},
	}
	return slices.Concat(cases, diskImageCases(), imageNameCases(), pullingCases())
}

// image reads the test image.
func (e *env) image() compute.Image {
	e.Helper()
	image, err := e.p.Images().Get(e.ctx, e.s.h.Image)
	require.NoError(e, err)
	return image
}

// imageIDs lists the images that there are.
func (e *env) imageIDs() []string {
	e.Helper()
	images, err := resource.Collect(e.p.Images().List(e.ctx, compute.ImageFilter{}))
	require.NoError(e, err)
	ids := []string{}
	for _, image := range images {
		ids = append(ids, image.Ref.ID)
	}
	return sorted(ids)
}

// onlyTestImage requires that nothing but the test image is there.
func (e *env) onlyTestImage() {
	e.Helper()
	require.Equal(e, sorted(e.lane.images), e.imageIDs())
}

func getImage(e *env) {
	want := e.image()
	e.wellFormedRef(want.Ref, resource.KindImage)
	require.NotEmpty(e, want.Names)
	require.IsIncreasing(e, append([]string{""}, want.Names...))
	require.Contains(e, want.Names, want.Ref.Name)
	if e.format() == compute.OCIArchive {
		require.Equal(e, compute.RootFS, want.Form)
		require.Equal(e, "linux", want.Platform.OS)
		require.NotEmpty(e, want.Platform.Architecture)
	} else {
		require.Equal(e, compute.Disk, want.Form)
	}
	require.Positive(e, want.Size)
	for _, name := range append(slices.Clone(want.Names), want.Ref.ID) {
		got, err := e.p.Images().Get(e.ctx, name)
		require.NoError(e, err, name)
		require.Equal(e, want.Ref.ID, got.Ref.ID)
		require.Equal(e, want.Names, got.Names)
		require.Equal(e, want.Config, got.Config)
	}
}

func getNoImage(e *env) {
	for _, name := range []string{"localhost:1/no/such:image", "sha256:0000000000000000000000000000000000000000000000000000000000000000"} {
		_, err := e.p.Images().Get(e.ctx, name)
		re := e.fails(err, errdefs.ErrNotFound)
		require.Equal(e, "get", re.Op)
		require.Equal(e, resource.KindImage, re.Ref.Kind)
	}
	for _, name := range malformedReferences() {
		_, err := e.p.Images().Get(e.ctx, name)
		e.failsField(err, errdefs.ErrInvalidArgument, "nameOrID")
		err = e.p.Images().Delete(e.ctx, name, compute.DeleteImageOptions{})
		e.failsField(err, errdefs.ErrInvalidArgument, "nameOrID")
	}
}

func listImages(e *env) {
	image := e.image()
	list := func(filter compute.ImageFilter) []string {
		e.Helper()
		images, err := resource.Collect(e.p.Images().List(e.ctx, filter))
		require.NoError(e, err)
		ids := []string{}
		for _, i := range images {
			ids = append(ids, i.Ref.ID)
		}
		return ids
	}
	want := []string{image.Ref.ID}
	require.Contains(e, list(compute.ImageFilter{}), image.Ref.ID)
	require.Equal(e, want, list(compute.ImageFilter{Names: []string{e.s.h.Image}}))
	require.Equal(e, want, list(compute.ImageFilter{IDs: want}))
	require.Empty(e, list(compute.ImageFilter{Names: []string{"localhost:1/no/such:image"}}))
	require.Empty(e, list(compute.ImageFilter{Names: []string{e.s.h.Image}, IDs: []string{"sha256:0"}}))
}

func deleteImageInUse(e *env) {
	inst := e.stopped("web")
	for _, name := range []string{e.s.h.Image, e.image().Ref.ID} {
		for _, force := range []bool{false, true} {
			err := e.p.Images().Delete(e.ctx, name, compute.DeleteImageOptions{Force: force})
			e.fails(err, errdefs.ErrFailedPrecondition)
		}
	}
	e.start(inst)
	require.NotEmpty(e, e.image().Ref.ID)
}

func deleteNoImage(e *env) {
	err := e.p.Images().Delete(e.ctx, "localhost:1/no/such:image", compute.DeleteImageOptions{})
	re := e.fails(err, errdefs.ErrNotFound)
	require.Equal(e, "delete", re.Op)
}

// pull brings the image that is not there.
func (e *env) pull(opts compute.PullOptions) (compute.Image, error) {
	e.Helper()
	var image compute.Image
	err := e.returns("Pull", func() (err error) {
		image, err = e.p.Images().Pull(e.ctx, e.s.h.Remote, opts)
		return err
	})
	return image, err
}

func pullImage(e *env) {
	_, err := e.p.Images().Get(e.ctx, e.s.h.Remote)
	e.fails(err, errdefs.ErrNotFound)
	image, err := e.pull(compute.PullOptions{})
	require.NoError(e, err)
	e.wellFormedRef(image.Ref, resource.KindImage)
	reference, err := compute.ParseImageReference(e.s.h.Remote)
	require.NoError(e, err)
	require.Contains(e, image.Names, reference.String())
	got, err := e.p.Images().Get(e.ctx, e.s.h.Remote)
	require.NoError(e, err)
	require.Equal(e, image.Ref.ID, got.Ref.ID)
	require.NoError(e, e.p.Images().Delete(e.ctx, e.s.h.Remote, compute.DeleteImageOptions{}))
	_, err = e.p.Images().Get(e.ctx, image.Ref.ID)
	e.fails(err, errdefs.ErrNotFound)
	e.onlyTestImage()
}

func pullTwice(e *env) {
	first, err := e.pull(compute.PullOptions{})
	require.NoError(e, err)
	second, err := e.pull(compute.PullOptions{})
	require.NoError(e, err)
	require.Equal(e, first.Ref.ID, second.Ref.ID)
	require.Len(e, e.imageIDs(), len(e.lane.images)+1)
}

func pullRace(e *env) {
	ids := make([]string, crowd)
	other := e.open(OpenOptions{})
	for _, err := range e.together(crowd, func(i int) error {
		images := e.p.Images()
		if i%2 == 1 {
			images = other.Images()
		}
		image, err := images.Pull(e.ctx, e.s.h.Remote, compute.PullOptions{})
		ids[i] = image.Ref.ID
		return err
	}) {
		require.NoError(e, err)
	}
	for _, id := range ids {
		require.Equal(e, ids[0], id)
	}
	require.Len(e, e.imageIDs(), len(e.lane.images)+1)
}

func pullShared(e *env) {
	ref, downloads, err := e.s.h.Fresh()
	require.NoError(e, err)
	ids := make([]string, crowd)
	// None of them downloads before all have come as far, and who downloads lets
	// the others have a try.
	var ready sync.WaitGroup
	ready.Add(crowd)
	opts := compute.PullOptions{
		Verify: func(context.Context, string, string) error {
			ready.Done()
			ready.Wait()
			return nil
		},
		Progress: func(resource.Progress) { runtime.Gosched() },
	}
	for _, err := range e.together(crowd, func(i int) error {
		image, err := e.p.Images().Pull(e.ctx, ref, opts)
		ids[i] = image.Ref.ID
		return err
	}) {
		require.NoError(e, err)
	}
	for _, id := range ids {
		require.Equal(e, ids[0], id)
	}
	require.Equal(e, 1, downloads(ids[0]))
	_, err = e.p.Images().Pull(e.ctx, ref, compute.PullOptions{})
	require.NoError(e, err)
	require.Equal(e, 1, downloads(ids[0]), "what is there is not downloaded again")
}

func pullSharedCancelled(e *env) {
	ref, _, err := e.s.h.Fresh()
	require.NoError(e, err)
	// Half of them are given up as soon as anything of the image has come in, or
	// when they are done: all of these at most.
	for i, err := range e.together(crowd, func(i int) error {
		ctx, cancel := context.WithCancel(e.ctx)
		defer cancel()
		opts := compute.PullOptions{}
		if i%2 == 0 {
			opts.Progress = func(p resource.Progress) {
				if p.Phase != "resolving" {
					cancel()
				}
			}
		}
		image, err := e.p.Images().Pull(ctx, ref, opts)
		if err == nil && image.Ref.ID == "" {
			return errors.New("an image without an ID")
		}
		return err
	}) {
		if err != nil && i%2 == 0 {
			e.cancelled(err, context.Canceled)
			continue
		}
		require.NoError(e, err, "pull %d", i)
	}
	require.Len(e, e.imageIDs(), len(e.lane.images)+1)
}

func createPulls(e *env) {
	spec := e.spec("web", "sleep", "1h")
	spec.Image = e.s.h.Remote
	_, err := e.instances().Create(e.ctx, spec)
	e.failsField(err, errdefs.ErrNotFound, "image")
	spec.Pull = compute.PullIfMissing
	inst, err := e.instances().Create(e.ctx, spec)
	require.NoError(e, err)
	image, err := e.p.Images().Get(e.ctx, e.s.h.Remote)
	require.NoError(e, err)
	require.Equal(e, image.Ref.ID, e.info(inst).Image.ID)
}

func pullProgress(e *env) {
	var reports []resource.Progress
	inside, returned := false, false
	image, err := e.pull(compute.PullOptions{Progress: func(p resource.Progress) {
		if inside || returned {
			e.Errorf("reports overlap, or come after the end")
		}
		inside = true
		reports = append(reports, p)
		inside = false
	}})
	returned = true
	require.NoError(e, err)
	require.NotEmpty(e, reports)
	var done int64
	for _, p := range reports {
		require.Equal(e, "pull", p.Op)
		require.NotEmpty(e, p.Phase)
		require.GreaterOrEqual(e, p.Done, done, "what is done never shrinks")
		require.True(e, p.Total == 0 || p.Done <= p.Total, "%d of %d are done", p.Done, p.Total)
		done = p.Done
	}
	last := reports[len(reports)-1]
	require.Equal(e, "done", last.Phase)
	require.Equal(e, last.Total, last.Done)
	require.NotEmpty(e, last.Items)
	for _, item := range last.Items {
		require.NotEmpty(e, item.ID)
		require.Equal(e, item.Total, item.Done, item.ID)
	}
	require.NotEmpty(e, image.Ref.ID)
}

// errRefused is what the hooks of cases answer.
var errRefused = errors.New("refused by the case")

func pullVerify(e *env) {
	var asked []string
	_, err := e.pull(compute.PullOptions{Verify: func(_ context.Context, ref, digest string) error {
		asked = append(asked, ref, digest)
		return errRefused
	}})
	require.ErrorIs(e, err, errRefused)
	e.wellFormed(err)
	require.Len(e, asked, 2)
	e.onlyTestImage()
	image, err := e.pull(compute.PullOptions{Verify: func(_ context.Context, _, digest string) error {
		asked = append(asked, digest)
		return nil
	}})
	require.NoError(e, err)
	require.Equal(e, asked[1], asked[2])
	require.NotEmpty(e, image.Ref.ID)
}

func pullCancelled(e *env) {
	// Cancelled while it asks whether the image is right, it has begun and not
	// ended, however fast it is.
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	err := e.returns("a cancelled Pull", func() error {
		_, err := e.p.Images().Pull(ctx, e.s.h.Remote, compute.PullOptions{Verify: func(context.Context, string, string) error {
			cancel()
			return nil
		}})
		return err
	})
	e.cancelled(err, context.Canceled)
	e.onlyTestImage()
	_, err = e.pull(compute.PullOptions{})
	require.NoError(e, err)
}

func pullGone(e *env) {
	_, err := e.p.Images().Pull(e.ctx, e.s.h.Gone, compute.PullOptions{})
	re := e.fails(err, errdefs.ErrNotFound)
	require.Equal(e, "pull", re.Op)
	e.onlyTestImage()
}

func pullUnavailable(e *env) {
	// Port 1 of loopback is nobody's.
	err := e.returns("Pull", func() error {
		_, err := e.p.Images().Pull(e.ctx, "127.0.0.1:1/no/such:image", compute.PullOptions{})
		return err
	})
	if errdefs.IsNotFound(err) && e.s.h.Gone == "" {
		return
	}
	e.fails(err, errdefs.ErrUnavailable)
	e.onlyTestImage()
}

func pullPlatform(e *env) {
	_, err := e.pull(compute.PullOptions{Platform: compute.Platform{OS: "linux", Architecture: "s390x"}})
	e.fails(err, errdefs.ErrFailedPrecondition)
	e.onlyTestImage()
}

// format is that of the images which cases import: an archive, or a disk image
// where the provider has no others.
func (e *env) format() compute.ImageFormat {
	if e.s.offer.desc.Images.Has(compute.FeatureRootFS) {
		return compute.OCIArchive
	}
	return compute.QCOW2
}

// under returns the options that name an image where its stream cannot.
func (e *env) under(name string) compute.ImportOptions {
	if e.format() == compute.OCIArchive {
		return compute.ImportOptions{}
	}
	return compute.ImportOptions{Name: name}
}

// archive returns an image as a stream, and its name.
func (e *env) archive(format compute.ImageFormat) (*bytes.Buffer, string) {
	e.Helper()
	var b bytes.Buffer
	name, err := e.s.h.Archive(&b, format)
	require.NoError(e, err)
	return &b, name
}

// importArchive imports an image.
func (e *env) importArchive(format compute.ImageFormat) []compute.Image {
	e.Helper()
	b, name := e.archive(format)
	images, err := e.p.Images().Import(e.ctx, compute.ImageSource{Reader: b, Format: format}, e.under(name))
	require.NoError(e, err)
	return images
}

func importImage(e *env, format compute.ImageFormat) {
	_, name := e.archive(format)
	images := e.importArchive(format)
	require.Len(e, images, 1)
	got, err := e.p.Images().Get(e.ctx, name)
	require.NoError(e, err)
	require.Equal(e, images[0].Ref.ID, got.Ref.ID)
	require.Len(e, e.imageIDs(), len(e.lane.images)+1)
	again := e.importArchive(format)
	require.Equal(e, images[0].Ref.ID, again[0].Ref.ID)
	spec := e.spec("web", "sleep", "1h")
	spec.Image = name
	inst := e.create(spec)
	require.Equal(e, got.Ref.ID, e.info(inst).Image.ID)
}

func importNamed(e *env) {
	b, name := e.archive(e.format())
	images, err := e.p.Images().Import(e.ctx, compute.ImageSource{Reader: b, Format: e.format()},
		compute.ImportOptions{Name: "localhost/own/name:2"})
	require.NoError(e, err)
	require.Len(e, images, 1)
	got, err := e.p.Images().Get(e.ctx, "localhost/own/name:2")
	require.NoError(e, err)
	require.Equal(e, images[0].Ref.ID, got.Ref.ID)
	require.Contains(e, got.Names, "localhost/own/name:2")
	require.NotContains(e, got.Names, name, "the archive's own name")
}

func importRenamed(e *env) {
	const other = "localhost/own/name:2"
	b, name := e.archive(e.format())
	e.importArchive(e.format())
	images, err := e.p.Images().Import(e.ctx, compute.ImageSource{Reader: b, Format: e.format()},
		compute.ImportOptions{Name: other})
	require.NoError(e, err)
	require.Len(e, images, 1)
	require.Equal(e, other, images[0].Ref.Name)
	require.Equal(e, sorted([]string{name, other}), images[0].Names)
	for _, asked := range []string{name, other} {
		got, err := e.p.Images().Get(e.ctx, asked)
		require.NoError(e, err)
		require.Equal(e, asked, got.Ref.Name)
		require.Equal(e, images[0].Names, got.Names)
	}
}

func importTwiceNamed(e *env) {
	const other = "localhost/own/name:2"
	_, name := e.archive(compute.OCIArchive)
	images := e.importArchive(compute.OCIArchive)
	b, _ := e.archive(compute.OCIArchive)
	_, err := e.p.Images().Import(e.ctx, compute.ImageSource{Reader: b, Format: compute.OCIArchive},
		compute.ImportOptions{Name: other})
	require.NoError(e, err)
	var both bytes.Buffer
	require.NoError(e, e.p.Images().Export(e.ctx, &both, []string{other, name}, compute.ExportOptions{}))
	require.NoError(e, e.p.Images().Delete(e.ctx, images[0].Ref.ID, compute.DeleteImageOptions{}))
	e.onlyTestImage()
	again, err := e.p.Images().Import(e.ctx, compute.ImageSource{Reader: &both, Format: compute.OCIArchive}, compute.ImportOptions{})
	require.NoError(e, err)
	require.Len(e, again, 1)
	require.Equal(e, images[0].Ref.ID, again[0].Ref.ID)
	require.Equal(e, sorted([]string{name, other}), again[0].Names)
	require.Contains(e, again[0].Names, again[0].Ref.Name)
}

func importDamaged(e *env) {
	whole, name := e.archive(e.format())
	damaged := map[string][]byte{
		"nothing": {},
		"no tar":  bytes.Repeat([]byte("no archive "), 1000),
		"cut":     whole.Bytes()[:whole.Len()/2],
	}
	if e.format() == compute.OCIArchive {
		damaged["an empty"] = emptyTar()
		damaged["flipped"] = e.flipped(whole.Bytes())
		damaged["no images"] = tarOf([]tarEntry{file("oci-layout", `{"imageLayoutVersion":"1.0.0"}`), file("index.json", `{"schemaVersion":2,"manifests":[]}`)})
	}
	for what, archive := range damaged {
		err := e.returns("Import", func() error {
			_, err := e.p.Images().Import(e.ctx, compute.ImageSource{Reader: bytes.NewReader(archive), Format: e.format()}, e.under(name))
			return err
		})
		if err == nil && what == "flipped" {
			// A provider that has the blob already need not read it again: then
			// what it has is right.
			image := e.importArchive(compute.OCIArchive)[0]
			require.Len(e, e.imageIDs(), len(e.lane.images)+1)
			require.NoError(e, e.p.Images().Delete(e.ctx, image.Ref.ID, compute.DeleteImageOptions{}))
			continue
		}
		require.Error(e, err, what)
		var kind error = errdefs.ErrInvalidArgument
		if (what == "cut" || what == "flipped") && errdefs.IsDataLoss(err) {
			kind = errdefs.ErrDataLoss
		}
		e.fails(err, kind)
		e.onlyTestImage()
	}
}

// flipped returns an archive in which the largest blob has one byte changed.
func (e *env) flipped(archive []byte) []byte {
	e.Helper()
	var entries []tarEntry
	largest := 0
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(e, err)
		content, err := io.ReadAll(r)
		require.NoError(e, err)
		entries = append(entries, tarEntry{*header, string(content)})
		if len(content) > len(entries[largest].content) {
			largest = len(entries) - 1
		}
	}
	content := []byte(entries[largest].content)
	content[len(content)/2] ^= 0xff
	entries[largest].content = string(content)
	return tarOf(entries)
}

func importFailing(e *env) {
	whole, name := e.archive(e.format())
	reader := io.MultiReader(bytes.NewReader(whole.Bytes()[:whole.Len()/2]), iotest.ErrReader(errRefused))
	_, err := e.p.Images().Import(e.ctx, compute.ImageSource{Reader: reader, Format: e.format()}, e.under(name))
	require.ErrorIs(e, err, errRefused)
	e.wellFormedCause(err)
	e.onlyTestImage()
}

// cancelling ends a context when something of a stream has been read or written.
type cancelling struct {
	io.Reader
	io.Writer
	cancel context.CancelFunc
}

func (c cancelling) Read(p []byte) (int, error) {
	c.cancel()
	return c.Reader.Read(p)
}

func (c cancelling) Write(p []byte) (int, error) {
	c.cancel()
	return c.Writer.Write(p)
}

func importCancelled(e *env) {
	whole, name := e.archive(e.format())
	half := whole.Len() / 2
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	err := e.returns("a cancelled Import", func() error {
		_, err := e.p.Images().Import(ctx, compute.ImageSource{
			Reader: io.MultiReader(bytes.NewReader(whole.Bytes()[:half]), cancelling{Reader: bytes.NewReader(whole.Bytes()[half:]), cancel: cancel}),
			Format: e.format(),
		}, e.under(name))
		return err
	})
	e.cancelled(err, context.Canceled)
	e.onlyTestImage()
	e.importArchive(e.format())
}

// stuckStream is a stream whose calls end a context, and then block until the case is
// over.
type stuckStream struct {
	cancel context.CancelFunc
	over   <-chan struct{}
}

func (s stuckStream) Read([]byte) (int, error) {
	s.cancel()
	<-s.over
	return 0, io.EOF
}

func (s stuckStream) Write([]byte) (int, error) {
	s.cancel()
	<-s.over
	return 0, io.ErrClosedPipe
}

// endsThoughStuck requires an operation to end with its context although the
// stream that it is given blocks.
func (e *env) endsThoughStuck(what string, do func(ctx context.Context, s stuckStream) error) {
	e.Helper()
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	over := make(chan struct{})
	defer close(over)
	e.cancelled(e.returns(what+" with a stream that blocks", func() error { return do(ctx, stuckStream{cancel, over}) }), context.Canceled)
}

func importStuck(e *env) {
	whole, name := e.archive(e.format())
	begin := whole.Bytes()[:whole.Len()/2]
	for _, r := range []io.Reader{bytes.NewReader(nil), bytes.NewReader(begin)} {
		e.endsThoughStuck("an Import", func(ctx context.Context, s stuckStream) error {
			_, err := e.p.Images().Import(ctx, compute.ImageSource{Reader: io.MultiReader(r, s), Format: e.format()}, e.under(name))
			return err
		})
		e.onlyTestImage()
	}
	e.importArchive(e.format())
}

// wellFormedCause is wellFormed for an error whose cause is the caller's own, and
// so may have no kind.
func (e *env) wellFormedCause(err error) {
	e.Helper()
	var re *resource.Error
	require.ErrorAs(e, err, &re)
	require.NotEmpty(e, re.Op)
}

func importVerify(e *env) {
	b, name := e.archive(e.format())
	opts := e.under(name)
	opts.Verify = func(context.Context, string, string) error { return errRefused }
	_, err := e.p.Images().Import(e.ctx, compute.ImageSource{Reader: b, Format: e.format()}, opts)
	require.ErrorIs(e, err, errRefused)
	e.onlyTestImage()
}
