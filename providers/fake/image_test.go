package fake_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/fake"
	testimage "github.com/univirt/univirt/providers/providertest/image"
	"github.com/univirt/univirt/resource"
)

func pull(t *testing.T, p *fake.Provider, ref string) compute.Image {
	t.Helper()
	img, err := p.Images().Pull(t.Context(), ref, compute.PullOptions{})
	require.NoError(t, err)
	return img
}

func TestEveryReferenceIsAnImageUnlessTheyAreListed(t *testing.T) {
	p := fake.Test(t, fake.Options{})
	img := pull(t, p, "registry.example/team/shop:v2")
	assert.Equal(t, []string{"registry.example/team/shop:v2"}, img.Names)
	assert.Equal(t, []string{"shop"}, img.Config.Cmd)
	assert.Equal(t, compute.Platform{OS: "linux", Architecture: "amd64"}, img.Platform)
	assert.Equal(t, img, pull(t, p, "registry.example/team/shop:v2"))
	assert.NotEqual(t, img.Ref.ID, pull(t, p, "registry.example/team/shop:v3").Ref.ID)
	_, err := p.Images().Pull(t.Context(), "localhost:5000/shop", compute.PullOptions{})
	require.ErrorIs(t, err, errdefs.ErrUnavailable, "the fake has no sockets")
	require.ErrorContains(t, err, "localhost:5000 does not answer: no image of Options.Images or Backend.Push lies there")
	_, err = p.Images().Pull(t.Context(), "no such reference", compute.PullOptions{})
	require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
	_, err = p.Images().Pull(t.Context(), "shop@"+img.Ref.ID, compute.PullOptions{})
	require.ErrorIs(t, err, errdefs.ErrNotFound)
	assert.Equal(t, img.Ref.ID, pull(t, p, "registry.example/team/shop@"+img.Ref.ID).Ref.ID)

	for _, images := range [][]fake.Image{{}, {{Name: "other"}}} {
		p := fake.Test(t, fake.Options{Images: images})
		_, err := p.Instances().Create(t.Context(), compute.Spec{Name: "web", Image: "shop"})
		require.ErrorIs(t, err, errdefs.ErrNotFound)
		assert.EqualError(t, err, `create instance "web" in namespace "default": image: the registry has no "docker.io/library/shop:latest"`)
		require.NoError(t, p.Backend().Push(fake.Image{Name: "shop"}))
		pull(t, p, "shop")
		require.Error(t, p.Backend().Push(fake.Image{Name: "::"}))
	}
}

func TestPullPolicies(t *testing.T) {
	p := fake.Test(t, fake.Options{Images: []fake.Image{{Name: "app:v1", Files: fstest.MapFS{"a": {Data: []byte("1")}}}}})
	of := func(name string, policy compute.PullPolicy) (string, error) {
		inst, err := p.Instances().Create(t.Context(), compute.Spec{Name: name, Image: "app:v1", Pull: policy})
		if err != nil {
			return "", err
		}
		return info(t, inst).Image.ID, nil
	}
	_, err := of("early", compute.PullNever)
	require.ErrorIs(t, err, errdefs.ErrNotFound)
	first, err := of("one", "")
	require.NoError(t, err)
	require.NoError(t, p.Backend().Push(fake.Image{Name: "app:v1", Files: fstest.MapFS{"a": {Data: []byte("2")}}}))
	same, err := of("two", compute.PullIfMissing)
	require.NoError(t, err)
	assert.Equal(t, first, same)
	second, err := of("three", compute.PullAlways)
	require.NoError(t, err)
	assert.NotEqual(t, first, second, "the name has come to mean another image")

	old, err := p.Images().Get(t.Context(), first)
	require.NoError(t, err, "what is in use stays")
	assert.Empty(t, old.Names)
	require.ErrorIs(t, p.Images().Delete(t.Context(), first, compute.DeleteImageOptions{}), errdefs.ErrFailedPrecondition)
	for _, name := range []string{"one", "two"} {
		inst, err := p.Instances().Get(t.Context(), name)
		require.NoError(t, err)
		require.NoError(t, inst.Delete(t.Context(), compute.DeleteOptions{}))
	}
	require.NoError(t, p.Images().Delete(t.Context(), first, compute.DeleteImageOptions{}))
	require.ErrorIs(t, p.Images().Delete(t.Context(), first, compute.DeleteImageOptions{}), errdefs.ErrNotFound)
}

func TestPullAsksForCredentialsAndVerifies(t *testing.T) {
	p := fake.Test(t, fake.Options{Images: []fake.Image{{Name: "registry.example/app", Allow: func(user string, password resource.Secret) error {
		if user != "me" || password.Reveal() != "secret" {
			return errdefs.ErrUnauthenticated
		}
		return nil
	}}}})
	opts := compute.PullOptions{}
	_, err := p.Images().Pull(t.Context(), "registry.example/app", opts)
	require.ErrorIs(t, err, errdefs.ErrUnauthenticated)
	opts.Credentials = func(_ context.Context, registry string) (string, resource.Secret, error) {
		assert.Equal(t, "registry.example", registry)
		return "me", resource.NewSecret("secret"), nil
	}
	refusal := errors.New("not signed")
	opts.Verify = func(_ context.Context, ref, digest string) error {
		assert.Equal(t, "registry.example/app:latest", ref)
		assert.NotEmpty(t, digest)
		return refusal
	}
	_, err = p.Images().Pull(t.Context(), "registry.example/app", opts)
	require.ErrorIs(t, err, refusal)
	require.ErrorIs(t, err, errdefs.ErrPermissionDenied)
	all, err := resource.Collect(p.Images().List(t.Context(), compute.ImageFilter{}))
	require.NoError(t, err)
	assert.Empty(t, all)
	opts.Verify = nil
	_, err = p.Images().Pull(t.Context(), "registry.example/app", opts)
	require.NoError(t, err)
}

func TestPullFromMirrors(t *testing.T) {
	const ref, origin = "docker.io/library/app:latest", "docker.io"
	image := func(name string, set ...func(*fake.Image)) fake.Image {
		i := fake.Image{Name: name, Config: compute.ImageConfig{Labels: map[string]string{"from": name}}}
		for _, s := range set {
			s(&i)
		}
		return i
	}
	plain := func(i *fake.Image) { i.PlainHTTP = true }
	closed := func(i *fake.Image) {
		i.Allow = func(user string, _ resource.Secret) error {
			if user == "me" {
				return nil
			}
			return errors.New("who are you")
		}
	}
	arm := func(i *fake.Image) { i.Platform = compute.Platform{OS: "linux", Architecture: "arm64"} }
	me := func(context.Context, string) (string, resource.Secret, error) { return "me", resource.Secret{}, nil }
	nobody := errors.New("the vault is closed")
	for name, c := range map[string]struct {
		images  []fake.Image
		mirrors []string
		plain   []string
		as      func(context.Context, string) (string, resource.Secret, error)
		ref     string
		// from is the name of the image that is pulled; empty for one that the
		// registry makes up.
		from string
		kind error
		text string
	}{
		"none":                    {images: []fake.Image{image(ref)}, from: ref},
		"the first one":           {images: []fake.Image{image(ref), image("a.test/library/app"), image("b.test/library/app")}, mirrors: []string{"a.test", "b.test"}, from: "a.test/library/app"},
		"one that has it":         {images: []fake.Image{image(ref), image("b.test/library/app"), image("a.test/library/other")}, mirrors: []string{"a.test", "b.test"}, from: "b.test/library/app"},
		"of a registry without":   {images: []fake.Image{image("b.test/library/app")}, mirrors: []string{"b.test"}, from: "b.test/library/app"},
		"one with another tag":    {images: []fake.Image{image(ref), image("a.test/library/app:v2")}, mirrors: []string{"a.test"}, from: ref},
		"one that is down":        {images: []fake.Image{image(ref)}, mirrors: []string{"localhost:5000"}, from: ref},
		"one that is listed anew": {images: []fake.Image{image(ref)}, mirrors: []string{origin}, from: ref},
		"where nobody has it":     {mirrors: []string{"a.test"}, images: []fake.Image{}, kind: errdefs.ErrNotFound, text: `the registry has no "docker.io/library/app:latest"`},
		"down where nobody has it": {mirrors: []string{"localhost:5000", "a.test"}, images: []fake.Image{}, kind: errdefs.ErrUnavailable,
			text: "localhost:5000 does not answer"},
		"where every reference is an image": {mirrors: []string{"a.test"}, from: ""},
		"one that refuses":                  {images: []fake.Image{image(ref), image("a.test/library/app", closed)}, mirrors: []string{"a.test"}, from: ref},
		"one that refuses, the only one":    {images: []fake.Image{image("a.test/library/app", closed)}, mirrors: []string{"a.test"}, kind: errdefs.ErrUnauthenticated, text: "who are you"},
		"one that lets in":                  {images: []fake.Image{image(ref), image("a.test/library/app", closed)}, mirrors: []string{"a.test"}, as: me, from: "a.test/library/app"},
		"without an answer for credentials": {images: []fake.Image{image(ref), image("a.test/library/app", closed)}, mirrors: []string{"a.test"}, kind: errdefs.ErrUnauthenticated, text: nobody.Error(),
			as: func(context.Context, string) (string, resource.Secret, error) { return "", resource.Secret{}, nobody }},
		"for another platform": {images: []fake.Image{image(ref), image("a.test/library/app", arm)}, mirrors: []string{"a.test"}, kind: errdefs.ErrFailedPrecondition, text: "for linux/arm64 only"},

		"plain, not listed":         {images: []fake.Image{image("a.test:80/app", plain)}, ref: "a.test:80/app", kind: errdefs.ErrUnavailable, text: "a.test:80 does not speak TLS, and is not listed in PullOptions.PlainHTTP"},
		"plain, another listed":     {images: []fake.Image{image("a.test:80/app", plain)}, ref: "a.test:80/app", plain: []string{"a.test"}, kind: errdefs.ErrUnavailable},
		"plain, listed":             {images: []fake.Image{image("a.test:80/app", plain)}, ref: "a.test:80/app", plain: []string{"a.test:80"}, from: "a.test:80/app"},
		"plain, on loopback":        {images: []fake.Image{image("localhost:80/app", plain)}, ref: "localhost:80/app", from: "localhost:80/app"},
		"listed, and speaks TLS":    {images: []fake.Image{image("a.test/app")}, ref: "a.test/app", plain: []string{"a.test"}, from: "a.test/app"},
		"a plain mirror, listed":    {images: []fake.Image{image(ref), image("a.test/library/app", plain)}, mirrors: []string{"a.test"}, plain: []string{"a.test"}, from: "a.test/library/app"},
		"a plain mirror, not there": {images: []fake.Image{image(ref), image("a.test/library/app", plain)}, mirrors: []string{"a.test"}, from: ref},
	} {
		t.Run(name, func(t *testing.T) {
			p := fake.Test(t, fake.Options{Images: c.images})
			asked := cmp.Or(c.ref, "app")
			got, err := p.Images().Pull(t.Context(), asked, compute.PullOptions{
				Mirrors: map[string][]string{origin: c.mirrors}, PlainHTTP: c.plain, Credentials: c.as,
			})
			if c.kind != nil {
				require.ErrorIs(t, err, c.kind)
				require.ErrorContains(t, err, c.text)
				_, err = p.Images().Get(t.Context(), asked)
				require.ErrorIs(t, err, errdefs.ErrNotFound)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.from, got.Config.Labels["from"])
			again, err := p.Images().Get(t.Context(), asked)
			require.NoError(t, err)
			assert.Equal(t, got, again, "it is known by the name that it was asked for")
		})
	}
}

func TestPullByDigestFromAMirror(t *testing.T) {
	same := fake.Image{Name: "app", Config: compute.ImageConfig{Cmd: []string{"app"}}}
	p := fake.Test(t, fake.Options{Images: []fake.Image{same}})
	first, err := p.Images().Pull(t.Context(), "app", compute.PullOptions{})
	require.NoError(t, err)
	require.NoError(t, p.Images().Delete(t.Context(), first.Ref.ID, compute.DeleteImageOptions{}))

	// The mirror's image of that name is another one by now.
	other := fake.Image{Name: "a.test/library/app", Config: compute.ImageConfig{Cmd: []string{"other"}}}
	require.NoError(t, p.Backend().Push(other))
	ref := "app@" + first.Ref.ID
	got, err := p.Images().Pull(t.Context(), ref, compute.PullOptions{Mirrors: map[string][]string{"docker.io": {"a.test"}}})
	require.NoError(t, err)
	assert.Equal(t, first.Ref.ID, got.Ref.ID)
}

func TestPlatforms(t *testing.T) {
	arm := compute.Platform{OS: "linux", Architecture: "arm64"}
	p := fake.Test(t, fake.Options{Images: []fake.Image{
		{Name: "both"}, {Name: "both", Platform: arm},
		{Name: "exotic", Platform: compute.Platform{OS: "linux", Architecture: "s390x"}},
	}})
	assert.Equal(t, "linux/amd64", pull(t, p, "both").Platform.String())
	img, err := p.Images().Pull(t.Context(), "both", compute.PullOptions{Platform: arm})
	require.NoError(t, err)
	assert.Equal(t, arm, img.Platform)
	_, err = p.Images().Pull(t.Context(), "exotic", compute.PullOptions{})
	require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
	assert.ErrorContains(t, err, "linux/s390x")
}

func TestProgressAddsUp(t *testing.T) {
	p := fake.Test(t, fake.Options{Images: []fake.Image{{Name: "app", Size: resource.GiB}}})
	for _, phase := range []string{"downloading", "exists"} {
		var reports []resource.Progress
		_, err := p.Images().Pull(t.Context(), "app", compute.PullOptions{Progress: func(r resource.Progress) { reports = append(reports, r) }})
		require.NoError(t, err)
		last := reports[len(reports)-1]
		assert.Equal(t, "done", last.Phase)
		assert.Equal(t, resource.GiB, last.Total)
		assert.Equal(t, last.Total, last.Done)
		done, seen := int64(0), map[string]bool{}
		for _, r := range reports {
			assert.GreaterOrEqual(t, r.Done, done)
			done = r.Done
			for _, item := range r.Items {
				seen[item.Phase] = true
			}
		}
		assert.True(t, seen[phase], phase)
	}
}

func TestDiskCapacity(t *testing.T) {
	p := fake.Test(t, fake.Options{
		Capacity: fake.Capacity{Disk: 10 * resource.MiB},
		Images:   []fake.Image{{Name: "large", Size: 8 * resource.MiB}, {Name: "other", Size: 8 * resource.MiB}},
	})
	pull(t, p, "large")
	_, err := p.Images().Pull(t.Context(), "other", compute.PullOptions{})
	require.ErrorIs(t, err, errdefs.ErrResourceExhausted)
	_, err = p.Instances().Create(t.Context(), compute.Spec{Name: "web", Image: "large", RootDisk: 4 * resource.MiB})
	require.ErrorIs(t, err, errdefs.ErrResourceExhausted)
	require.NoError(t, p.Images().Delete(t.Context(), "large", compute.DeleteImageOptions{}))
	pull(t, p, "other")
}

func TestDeleteRemovesNamesOneByOne(t *testing.T) {
	p := fake.Test(t, fake.Options{})
	img := pull(t, p, "app:v1")
	var archive bytes.Buffer
	require.NoError(t, p.Images().Export(t.Context(), &archive, []string{"app:v1"}, compute.ExportOptions{}))
	_, err := p.Images().Import(t.Context(), compute.ImageSource{Reader: &archive, Format: compute.OCIArchive}, compute.ImportOptions{Name: "alias:v2"})
	require.NoError(t, err)
	names := func() []string {
		img, err := p.Images().Get(t.Context(), img.Ref.ID)
		require.NoError(t, err)
		return img.Names
	}
	assert.Equal(t, []string{"docker.io/library/alias:v2", "docker.io/library/app:v1"}, names())
	require.NoError(t, p.Images().Delete(t.Context(), "app:v1", compute.DeleteImageOptions{}))
	assert.Equal(t, []string{"docker.io/library/alias:v2"}, names())
	create(t, p, "web", func(s *compute.Spec) { s.Image = "alias:v2" })
	require.ErrorIs(t, p.Images().Delete(t.Context(), "alias:v2", compute.DeleteImageOptions{}), errdefs.ErrFailedPrecondition)
}

func TestExportAndImportKeepTheImage(t *testing.T) {
	opts := fake.Options{Images: []fake.Image{
		{Name: "one:v1", Config: compute.ImageConfig{Env: []string{"A=1"}, Ports: []string{"80/tcp"}, Volumes: []string{"/data"}, StopSignal: "SIGINT"},
			Files: fstest.MapFS{"bin/one": {Data: []byte("x"), Mode: 0o755}}, Users: []fake.User{{Name: "svc", UID: 7, GID: 7, Groups: []int{1000}}}},
		{Name: "two:v1"},
	}}
	for _, format := range []compute.ImageFormat{compute.OCIArchive, compute.DockerArchive} {
		t.Run(string(format), func(t *testing.T) {
			from, to := fake.Test(t, opts), fake.Test(t, fake.Options{})
			one, two := pull(t, from, "one:v1"), pull(t, from, "two:v1")
			var archive bytes.Buffer
			require.NoError(t, from.Images().Export(t.Context(), &archive, []string{"one:v1", two.Ref.ID}, compute.ExportOptions{Format: format}))
			got, err := to.Images().Import(t.Context(), compute.ImageSource{Reader: bytes.NewReader(archive.Bytes()), Format: format}, compute.ImportOptions{})
			require.NoError(t, err)
			require.Len(t, got, 2)
			for n, want := range []compute.Image{one, two} {
				assert.Equal(t, want.Names, got[n].Names)
				assert.Equal(t, want.Config, got[n].Config)
				assert.Equal(t, want.Platform, got[n].Platform)
				assert.Equal(t, want.Ref.ID, got[n].Ref.ID)
			}
			seen := make(chan fake.User, 1)
			inst := create(t, to, "web", func(s *compute.Spec) { s.Image, s.Process.User = "one:v1", "svc" })
			require.NotNil(t, inst)
			close(seen)
			_, err = to.Images().Import(t.Context(), compute.ImageSource{Reader: bytes.NewReader(archive.Bytes()), Format: format}, compute.ImportOptions{Name: "both"})
			require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
		})
	}
}

func TestImportEndsWithTheValueThoughItsReaderBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fake.NewBackend(fake.Options{})
		defer b.Close()
		p := fake.New(fake.Options{Backend: b})
		r, w := io.Pipe()
		defer w.Close()
		imported := make(chan error, 1)
		go func() {
			_, err := p.Images().Import(t.Context(), compute.ImageSource{Reader: r, Format: compute.OCIArchive}, compute.ImportOptions{})
			imported <- err
		}()
		synctest.Wait()
		require.NoError(t, p.Close())
		require.ErrorIs(t, <-imported, resource.ErrClosed)
	})
}

func TestDiskImages(t *testing.T) {
	p := fake.Test(t, fake.Options{Images: []fake.Image{{Name: "disk", Disk: []byte("boot sector")}}})
	assert.Equal(t, compute.Disk, pull(t, p, "disk").Form)
	_, err := p.Instances().Create(t.Context(), compute.Spec{Name: "web", Image: "disk"})
	require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
	start(t, p, "vm", vm, func(s *compute.Spec) { s.Image = "disk" })
	var out bytes.Buffer
	require.NoError(t, p.Images().Export(t.Context(), &out, []string{"disk"}, compute.ExportOptions{}))
	require.NoError(t, p.Images().Export(t.Context(), &out, []string{"disk"}, compute.ExportOptions{Format: compute.RawDisk}))
	assert.Equal(t, "boot sectorboot sector", out.String())
	require.ErrorIs(t, p.Images().Export(t.Context(), &out, []string{"disk"}, compute.ExportOptions{Format: compute.OCIArchive}), errdefs.ErrFailedPrecondition)
	_, err = p.Images().Import(t.Context(), compute.ImageSource{Reader: &out, Format: compute.QCOW2}, compute.ImportOptions{})
	require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
	got, err := p.Images().Import(t.Context(), compute.ImageSource{Reader: &out, Format: compute.QCOW2}, compute.ImportOptions{Name: "q"})
	require.NoError(t, err)
	assert.Equal(t, compute.Disk, got[0].Form)
}

func TestArchivesOfOtherTools(t *testing.T) {
	image, err := testimage.Data(testimage.Options{Layers: 2, LayerSize: 1000, Config: v1.Config{
		Entrypoint: []string{"/bin/x"}, ExposedPorts: map[string]struct{}{"80/tcp": {}},
	}})
	require.NoError(t, err)
	digest, err := image.Digest()
	require.NoError(t, err)
	p := fake.Test(t, fake.Options{})
	var oci, docker bytes.Buffer
	require.NoError(t, testimage.WriteOCI(&oci, "example.test/app:v1", image))
	require.NoError(t, testimage.WriteDocker(&docker, "example.test/app:v2", image))
	for format, archive := range map[compute.ImageFormat]*bytes.Buffer{compute.OCIArchive: &oci, compute.DockerArchive: &docker} {
		got, err := p.Images().Import(t.Context(), compute.ImageSource{Reader: bytes.NewReader(archive.Bytes()), Format: format}, compute.ImportOptions{})
		require.NoError(t, err, format)
		require.Len(t, got, 1)
		assert.Equal(t, []string{"/bin/x"}, got[0].Config.Entrypoint)
		assert.Equal(t, []string{"80/tcp"}, got[0].Config.Ports)
		if format == compute.OCIArchive {
			assert.Equal(t, digest.String(), got[0].Ref.ID)
		}
		for _, cut := range []int{0, 700, archive.Len() / 2} {
			_, err = p.Images().Import(t.Context(), compute.ImageSource{Reader: bytes.NewReader(archive.Bytes()[:cut]), Format: format}, compute.ImportOptions{})
			require.Error(t, err, "%s cut at %d", format, cut)
			require.NotNil(t, resource.KindOf(err), "%v", err)
		}
	}
	foreign, err := testimage.Data(testimage.Options{Platform: v1.Platform{OS: "linux", Architecture: "s390x"}})
	require.NoError(t, err)
	oci.Reset()
	require.NoError(t, testimage.WriteOCI(&oci, "example.test/app:v3", foreign))
	_, err = p.Images().Import(t.Context(), compute.ImageSource{Reader: &oci, Format: compute.OCIArchive}, compute.ImportOptions{})
	require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
}

func TestHostileArchivesAreRefused(t *testing.T) {
	dir := t.TempDir()
	cases, err := testimage.Hostile(dir)
	require.NoError(t, err)
	require.NotEmpty(t, cases)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			for format, refused := range map[compute.ImageFormat]bool{compute.OCIArchive: c.OCI, compute.DockerArchive: c.Docker} {
				p := fake.Test(t, fake.Options{})
				var archive bytes.Buffer
				if format == compute.OCIArchive {
					require.NoError(t, testimage.WriteOCI(&archive, "example.test/app:v1", c.Image))
				} else if err := testimage.WriteDocker(&archive, "example.test/app:v1", c.Image); err != nil {
					continue
				}
				_, err := p.Images().Import(t.Context(), compute.ImageSource{Reader: &archive, Format: format}, compute.ImportOptions{})
				if refused {
					require.Error(t, err, format)
					kind := resource.KindOf(err)
					assert.Contains(t, []error{errdefs.ErrInvalidArgument, errdefs.ErrDataLoss}, kind)
					all, err := resource.Collect(p.Images().List(t.Context(), compute.ImageFilter{}))
					require.NoError(t, err)
					assert.Empty(t, all)
				}
			}
		})
	}
	require.NoError(t, testimage.Intact(dir))
}

func FuzzImport(f *testing.F) {
	image, err := testimage.Data(testimage.Options{Layers: 1, LayerSize: 10})
	require.NoError(f, err)
	var oci, docker bytes.Buffer
	require.NoError(f, testimage.WriteOCI(&oci, "example.test/app:v1", image))
	require.NoError(f, testimage.WriteDocker(&docker, "example.test/app:v1", image))
	f.Add(oci.Bytes(), true)
	f.Add(docker.Bytes(), false)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, data []byte, isOCI bool) {
		p := fake.New(fake.Options{})
		defer p.Close()
		format := compute.DockerArchive
		if isOCI {
			format = compute.OCIArchive
		}
		got, err := p.Images().Import(context.Background(), compute.ImageSource{Reader: bytes.NewReader(data), Format: format}, compute.ImportOptions{})
		if err != nil {
			if resource.KindOf(err) == nil {
				t.Fatalf("an error without a kind: %v", err)
			}
			return
		}
		for _, img := range got {
			if len(img.Names) == 0 {
				t.Fatal("an image without a name")
			}
		}
	})
}

func TestImageEvents(t *testing.T) {
	p := fake.Test(t, fake.Options{})
	opts := resource.WatchOptions{Kinds: []resource.Kind{resource.KindImage}}
	events := watching(t, p, opts, func(e resource.Event) bool {
		if e.Type == resource.EventSynced {
			pull(t, p, "app")
			assert.NoError(t, p.Images().Delete(t.Context(), "app", compute.DeleteImageOptions{}))
		}
		return e.Type == resource.EventDeleted
	})
	assert.Equal(t, []string{"synced", "added docker.io/library/app:latest create", "deleted docker.io/library/app:latest"}, told(events))
}

func TestPullsOfOneReferenceShareADownload(t *testing.T) {
	for name, cancelled := range map[string]bool{"the first brings it": false, "the first is cancelled": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := fake.Test(t, fake.Options{})
				release := make(chan struct{})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var first, second error
				var phases []string
				done := make(chan struct{})
				go func() {
					_, first = p.Images().Pull(ctx, "app", compute.PullOptions{Progress: func(r resource.Progress) {
						if r.Phase == "downloading" {
							<-release
						}
					}})
					done <- struct{}{}
				}()
				synctest.Wait()
				go func() {
					_, second = p.Images().Pull(t.Context(), "docker.io/library/app:latest", compute.PullOptions{Progress: func(r resource.Progress) {
						for _, item := range r.Items {
							phases = append(phases, item.Phase)
						}
					}})
					done <- struct{}{}
				}()
				given, giveUp := context.WithTimeout(t.Context(), time.Minute)
				defer giveUp()
				_, err := p.Images().Pull(given, "app", compute.PullOptions{})
				require.ErrorIs(t, err, context.DeadlineExceeded, "who waits need not")
				_, err = p.Images().Get(t.Context(), "app")
				require.ErrorIs(t, err, errdefs.ErrNotFound)
				if cancelled {
					cancel()
				}
				close(release)
				<-done
				<-done
				require.NoError(t, second)
				if cancelled {
					assert.ErrorIs(t, first, context.Canceled)
					assert.Contains(t, phases, "downloading", "it brings the image in its place")
				} else {
					assert.NoError(t, first)
					assert.NotContains(t, phases, "downloading")
				}
				img, err := p.Images().Get(t.Context(), "app")
				require.NoError(t, err)
				assert.Equal(t, 1, p.Backend().Downloads(img.Ref.ID))
			})
		})
	}
}
