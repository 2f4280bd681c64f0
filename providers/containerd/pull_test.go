package containerd

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	testimage "github.com/univirt/univirt/providers/providertest/image"
	testregistry "github.com/univirt/univirt/providers/providertest/registry"
	"github.com/univirt/univirt/resource"
)

func TestPullBringsAnImageReadyForUse(t *testing.T) {
	p := open(t, Options{})
	r := testregistry.Test(t)
	image := dataImage(t, 3, 100_000)
	ref := push(t, r, "app:v1", image)
	ctx := context.Background()

	got, err := p.Images().Pull(ctx, ref, compute.PullOptions{})
	require.NoError(t, err)
	assert.Equal(t, resource.Ref{Provider: Scheme, Kind: resource.KindImage, Namespace: got.Ref.Namespace, Name: ref, ID: idOf(t, image)}, got.Ref)
	assert.Equal(t, []string{ref}, got.Names)
	assert.Equal(t, compute.Platform{OS: "linux", Architecture: runtime.GOARCH}, got.Platform)
	assert.Equal(t, compute.RootFS, got.Form)
	assert.Equal(t, []string{"/none"}, got.Config.Cmd)
	assert.Equal(t, []string{"PATH=/bin"}, got.Config.Env)
	assert.Greater(t, got.Size, int64(300_000))
	assert.True(t, isUnpacked(t, p, ref))
	for _, thing := range stock(t, p) {
		assert.NotRegexp(t, "^(ingest|lease|snapshot Active)", thing)
	}

	byName, err := p.Images().Get(ctx, ref)
	require.NoError(t, err)
	assert.Equal(t, got, byName)
}

func TestPullOfWhatIsThereFetchesNothing(t *testing.T) {
	p := open(t, Options{})
	r := testregistry.Test(t)
	ref := push(t, r, "app:v1", dataImage(t, 3, 10_000))
	first, err := p.Images().Pull(context.Background(), ref, compute.PullOptions{})
	require.NoError(t, err)
	r.Forget()
	unchanged(t, p)

	second, err := p.Images().Pull(context.Background(), ref, compute.PullOptions{})
	require.NoError(t, err)
	assert.Equal(t, first, second)
	requests := r.Requests()
	require.Len(t, requests, 1)
	assert.Equal(t, "HEAD", requests[0].Method)
}

func TestPullSharesLayers(t *testing.T) {
	p := open(t, Options{})
	r := testregistry.Test(t)
	seed := seeds.Add(1)
	make := func(layers int) v1.Image {
		image, err := testimage.Data(testimage.Options{Layers: layers, LayerSize: 10_000, Seed: seed})
		require.NoError(t, err)
		return image
	}
	_, err := p.Images().Pull(context.Background(), push(t, r, "app:v1", make(2)), compute.PullOptions{})
	require.NoError(t, err)
	r.Forget()
	_, err = p.Images().Pull(context.Background(), push(t, r, "app:v2", make(3)), compute.PullOptions{})
	require.NoError(t, err)
	// The name, the manifest, the configuration and the one layer.
	assert.Equal(t, 4, r.Count())

	// A second name for what is there needs its name only.
	ref := push(t, r, "other:v2", make(3))
	r.Forget()
	image, err := p.Images().Pull(context.Background(), ref, compute.PullOptions{})
	require.NoError(t, err)
	assert.Equal(t, 1, r.Count())
	assert.Equal(t, []string{r.Ref("app:v2"), ref}, image.Names)
}

func TestPullFollowsTheName(t *testing.T) {
	p := open(t, Options{})
	r := testregistry.Test(t)
	ctx := context.Background()
	first, err := p.Images().Pull(ctx, push(t, r, "app:latest", dataImage(t, 1, 100)), compute.PullOptions{})
	require.NoError(t, err)
	second, err := p.Images().Pull(ctx, push(t, r, "app:latest", dataImage(t, 1, 100)), compute.PullOptions{})
	require.NoError(t, err)
	assert.NotEqual(t, first.Ref.ID, second.Ref.ID)
	got, err := p.Images().Get(ctx, r.Ref("app"))
	require.NoError(t, err)
	assert.Equal(t, second, got)
}

func TestPullErrors(t *testing.T) {
	p := open(t, Options{})
	names := standIns(t, p)
	secure := names["secure.test:443"]
	const seconds = 10 * time.Second
	for name, c := range map[string]struct {
		ref   string
		fault testregistry.Fault
		setup func(r *testregistry.Registry)
		opts  compute.PullOptions
		kind  error
		field string
		says  string
	}{
		"malformed reference":       {ref: "UPPER/..:x", kind: errdefs.ErrInvalidArgument, field: "image"},
		"empty reference":           {ref: "", kind: errdefs.ErrInvalidArgument, field: "image"},
		"control characters":        {ref: "a\x00b", kind: errdefs.ErrInvalidArgument, field: "image"},
		"unknown tag":               {ref: "app:none", kind: errdefs.ErrNotFound},
		"unknown repository":        {ref: "none/none:v1", kind: errdefs.ErrNotFound},
		"unknown digest":            {ref: "app@sha256:0000000000000000000000000000000000000000000000000000000000000000", kind: errdefs.ErrNotFound},
		"no credentials":            {ref: "app:v1", setup: func(r *testregistry.Registry) { r.RequireBasic("u", "p") }, kind: errdefs.ErrUnauthenticated, says: "401"},
		"no credentials for token":  {ref: "app:v1", setup: func(r *testregistry.Registry) { r.RequireToken("u", "p") }, kind: errdefs.ErrUnauthenticated},
		"wrong credentials":         {ref: "app:v1", setup: func(r *testregistry.Registry) { r.RequireBasic("u", "p") }, opts: credentials("u", "wrong"), kind: errdefs.ErrUnauthenticated},
		"wrong password for token":  {ref: "app:v1", setup: func(r *testregistry.Registry) { r.RequireToken("u", "p") }, opts: credentials("u", "wrong"), kind: errdefs.ErrUnauthenticated},
		"empty credentials":         {ref: "app:v1", setup: func(r *testregistry.Registry) { r.RequireBasic("u", "p") }, opts: credentials("", ""), kind: errdefs.ErrUnauthenticated},
		"forbidden":                 {ref: "app:v1", fault: on(testregistry.Manifests, testregistry.Status(403)), kind: errdefs.ErrPermissionDenied, says: "denied"},
		"forbidden layer":           {ref: "app:v1", fault: on(testregistry.Blobs, testregistry.Status(403)), kind: errdefs.ErrPermissionDenied},
		"too many requests":         {ref: "app:v1", fault: on(testregistry.Manifests, testregistry.RateLimit(time.Minute)), kind: errdefs.ErrResourceExhausted},
		"too many layer requests":   {ref: "app:v1", fault: on(testregistry.Blobs, testregistry.Status(429)), kind: errdefs.ErrResourceExhausted},
		"registry broken":           {ref: "app:v1", fault: on(testregistry.Manifests, testregistry.Status(500)), kind: errdefs.ErrUnavailable},
		"registry overloaded":       {ref: "app:v1", fault: on(testregistry.Manifests, testregistry.Status(503)), kind: errdefs.ErrUnavailable},
		"bad gateway for layers":    {ref: "app:v1", fault: on(testregistry.Blobs, testregistry.Status(502)), kind: errdefs.ErrUnavailable},
		"corrupt layer":             {ref: "app:v1", fault: on(testregistry.Blobs, testregistry.Corrupt()), kind: errdefs.ErrDataLoss},
		"corrupt manifest":          {ref: "app:v1", fault: on(testregistry.Manifests, testregistry.Corrupt()), kind: errdefs.ErrDataLoss},
		"truncated layer":           {ref: "app:v1", fault: on(testregistry.Blobs, testregistry.Truncate()), kind: errdefs.ErrDataLoss, says: "ends after"},
		"missing layer":             {ref: "app:v1", fault: on(testregistry.Blobs, testregistry.Status(404)), kind: errdefs.ErrDataLoss},
		"registry down":             {ref: "app:v1", setup: func(r *testregistry.Registry) { _ = r.Down() }, kind: errdefs.ErrUnavailable, says: "connection refused"},
		"no such host":              {ref: "!none.invalid/app:v1", kind: errdefs.ErrUnavailable, says: "none.invalid"},
		"TLS to a registry without": {ref: "!plain.test/app:v1", kind: errdefs.ErrUnavailable, says: "plain.test"},
		"TLS of an unknown issuer":  {ref: "!secure.test/app:v1", kind: errdefs.ErrUnavailable, says: "certificate"},
		"plain to a registry with":  {ref: "!" + secure + "/app:v1", kind: errdefs.ErrUnavailable, says: "400"},
		"unknown platform":          {ref: "app:v1", opts: compute.PullOptions{Platform: compute.Platform{Architecture: "s390x"}}, kind: errdefs.ErrFailedPrecondition, says: runtime.GOARCH},
		"platform of other systems": {ref: "app:v1", opts: compute.PullOptions{Platform: compute.Platform{OS: "plan9"}}, kind: errdefs.ErrInvalidArgument, field: "platform.os"},
		"malformed mirror":          {ref: "app:v1", opts: compute.PullOptions{Mirrors: map[string][]string{"docker.io": {"http://x"}}}, kind: errdefs.ErrInvalidArgument, field: "mirrors[docker.io][0]"},
		"malformed plain registry":  {ref: "app:v1", opts: compute.PullOptions{PlainHTTP: []string{"a/b"}}, kind: errdefs.ErrInvalidArgument, field: "plainHTTP[0]"},
	} {
		t.Run(name, func(t *testing.T) {
			r := testregistry.Test(t)
			push(t, r, "app:v1", dataImage(t, 2, 5_000))
			names["plain.test:443"] = r.Host()
			if c.setup != nil {
				c.setup(r)
			}
			if c.fault.Effect != nil {
				r.Inject(c.fault)
			}
			unchanged(t, p)
			ref := r.Ref(c.ref)
			if c.ref == "" || c.field == "image" {
				ref = c.ref
			}
			if c.ref != "" && c.ref[0] == '!' {
				ref = c.ref[1:]
			}
			ctx, cancel := context.WithTimeout(context.Background(), seconds)
			defer cancel()

			_, err := p.Images().Pull(ctx, ref, c.opts)
			require.Error(t, err)
			assert.NoError(t, ctx.Err())
			var e *resource.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, c.kind, e.Kind, err)
			assert.ErrorIs(t, err, c.kind)
			assert.Equal(t, "pull", e.Op)
			assert.Equal(t, ref, e.Ref.Name)
			assert.Equal(t, c.field, e.Field)
			assert.Contains(t, err.Error(), c.says)
			assert.NotContains(t, err.Error(), "wrong")
			t.Log(err)

			// The fault over, the same pull works.
			if c.field == "" && c.opts.Platform.Architecture == "" && c.ref == "app:v1" {
				r.Heal()
				require.NoError(t, r.Up())
				_, err = p.Images().Pull(ctx, ref, compute.PullOptions{})
				require.NoError(t, err)
				require.NoError(t, p.Images().Delete(ctx, ref, compute.DeleteImageOptions{}))
			}
		})
	}
}

// standIns lets the hosts of the map that it returns lead to addresses of this
// machine, and every other name to a name server that is not there.
func standIns(t *testing.T, p *Provider) map[string]string {
	t.Helper()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	names := map[string]string{"secure.test:443": secure.Listener.Addr().String()}
	dialer := net.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:1")
	}}}
	p.images.http.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, cmp.Or(names[address], address))
	}
	return names
}

func on(what func(*http.Request) bool, effect testregistry.Effect) testregistry.Fault {
	return testregistry.Fault{On: what, Effect: effect}
}

func credentials(user, password string) compute.PullOptions {
	return compute.PullOptions{Credentials: func(context.Context, string) (string, resource.Secret, error) {
		return user, resource.NewSecret(password), nil
	}}
}

func TestPullWithCredentials(t *testing.T) {
	p := open(t, Options{})
	for name, require_ := range map[string]func(*testregistry.Registry){
		"basic":  func(r *testregistry.Registry) { r.RequireBasic("u", "p") },
		"bearer": func(r *testregistry.Registry) { r.RequireToken("u", "p") },
	} {
		t.Run(name, func(t *testing.T) {
			r := testregistry.Test(t)
			ref := push(t, r, "app:v1", dataImage(t, 2, 100))
			require_(r)
			var asked []string
			_, err := p.Images().Pull(context.Background(), ref, compute.PullOptions{
				Credentials: func(_ context.Context, registry string) (string, resource.Secret, error) {
					asked = append(asked, registry)
					return "u", resource.NewSecret("p"), nil
				},
			})
			require.NoError(t, err)
			assert.NotEmpty(t, asked)
			assert.Equal(t, r.Host(), asked[0])
		})
	}
	t.Run("callback fails", func(t *testing.T) {
		r := testregistry.Test(t)
		ref := push(t, r, "app:v1", dataImage(t, 1, 100))
		r.RequireToken("u", "p")
		cause := errors.New("the vault is closed")
		_, err := p.Images().Pull(context.Background(), ref, compute.PullOptions{
			Credentials: func(context.Context, string) (string, resource.Secret, error) { return "", resource.Secret{}, cause },
		})
		assert.ErrorIs(t, err, cause)
		assert.ErrorIs(t, err, errdefs.ErrUnauthenticated)
	})
}

func TestPullFromMirrors(t *testing.T) {
	p := open(t, Options{})
	image := dataImage(t, 2, 100)
	origin, mirror, broken := testregistry.Test(t), testregistry.Test(t), testregistry.Test(t)
	ref := push(t, origin, "app:v1", image)
	push(t, mirror, "app:v1", image)
	require.NoError(t, broken.Down())
	opts := compute.PullOptions{Mirrors: map[string][]string{origin.Host(): {broken.Host(), mirror.Host()}}}

	_, err := p.Images().Pull(context.Background(), ref, opts)
	require.NoError(t, err)
	assert.Zero(t, origin.Count())
	assert.NotZero(t, mirror.Count())

	t.Run("falls back to the origin", func(t *testing.T) {
		ref := push(t, origin, "other:v1", dataImage(t, 1, 100))
		_, err := p.Images().Pull(context.Background(), ref, opts)
		require.NoError(t, err)
		assert.NotZero(t, origin.Count())
	})
}

func TestPullByDigest(t *testing.T) {
	p := open(t, Options{})
	r := testregistry.Test(t)
	image := dataImage(t, 1, 100)
	push(t, r, "app:v1", image)
	ref := r.Ref("app@" + idOf(t, image))
	got, err := p.Images().Pull(context.Background(), ref, compute.PullOptions{})
	require.NoError(t, err)
	assert.Equal(t, ref, got.Ref.Name)
	assert.Equal(t, idOf(t, image), got.Ref.ID)

	// What the name means cannot change, so nobody is asked again.
	require.NoError(t, r.Down())
	again, err := p.Images().Pull(context.Background(), ref, compute.PullOptions{})
	require.NoError(t, err)
	assert.Equal(t, got, again)
}

func TestPullPlatforms(t *testing.T) {
	p := open(t, Options{})
	r := testregistry.Test(t)
	ctx := context.Background()
	own := platformImage(t, v1.Platform{OS: "linux", Architecture: runtime.GOARCH})
	arm := platformImage(t, v1.Platform{OS: "linux", Architecture: "arm", Variant: "v6"})
	mips := platformImage(t, v1.Platform{OS: "linux", Architecture: "mips64le"})
	index, err := testimage.Index(mips, arm, own)
	require.NoError(t, err)

	ref := push(t, r, "many:v1", index)
	got, err := p.Images().Pull(ctx, ref, compute.PullOptions{})
	require.NoError(t, err)
	assert.Equal(t, idOf(t, index), got.Ref.ID)
	assert.Equal(t, runtime.GOARCH, got.Platform.Architecture)

	other, err := p.Images().Pull(ctx, ref, compute.PullOptions{Platform: compute.Platform{Architecture: "arm", Variant: "v6"}})
	require.NoError(t, err)
	assert.Equal(t, compute.Platform{OS: "linux", Architecture: "arm", Variant: "v6"}, other.Platform)
	// Both are here now, and the host's is the one shown.
	shown, err := p.Images().Get(ctx, ref)
	require.NoError(t, err)
	assert.Equal(t, got, shown)

	t.Run("only for others", func(t *testing.T) {
		// Not those of the other index, which keeps what it lists.
		mips := platformImage(t, v1.Platform{OS: "linux", Architecture: "mips64le"})
		index, err := testimage.Index(mips, platformImage(t, v1.Platform{OS: "linux", Architecture: "arm"}))
		require.NoError(t, err)
		for name, image := range map[string]testimage.Artifact{"index": index, "manifest": mips} {
			ref := push(t, r, "others:"+name, image)
			unchanged(t, p)
			_, err = p.Images().Pull(ctx, ref, compute.PullOptions{})
			assert.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
			assert.ErrorContains(t, err, "linux/mips64le")
		}
	})
	t.Run("an index that lies", func(t *testing.T) {
		lying := lyingIndex(t, platformImage(t, v1.Platform{OS: "linux", Architecture: "mips64le"}), own)
		ref := push(t, r, "lying:v1", lying)
		unchanged(t, p)
		_, err = p.Images().Pull(ctx, ref, compute.PullOptions{})
		assert.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
	})
	t.Run("shown until the host's own comes", func(t *testing.T) {
		index, err := testimage.Index(mips, platformImage(t, v1.Platform{OS: "linux", Architecture: runtime.GOARCH}))
		require.NoError(t, err)
		ref := push(t, r, "late:v1", index)
		_, err = p.Images().Pull(ctx, ref, compute.PullOptions{Platform: compute.Platform{Architecture: "mips64le"}})
		require.NoError(t, err)
		got, err := p.Images().Get(ctx, ref)
		require.NoError(t, err)
		assert.Equal(t, "mips64le", got.Platform.Architecture)
		_, err = p.Images().Pull(ctx, ref, compute.PullOptions{})
		require.NoError(t, err)
		got, err = p.Images().Get(ctx, ref)
		require.NoError(t, err)
		assert.Equal(t, runtime.GOARCH, got.Platform.Architecture)
	})
}

// lyingIndex lists an image as one for the platform of another.
func lyingIndex(t *testing.T, image, as v1.Image) v1.ImageIndex {
	t.Helper()
	config, err := as.ConfigFile()
	require.NoError(t, err)
	return mutate.AppendManifests(empty.Index, mutate.IndexAddendum{
		Add: image, Descriptor: v1.Descriptor{Platform: config.Platform()},
	})
}

func TestPullVerify(t *testing.T) {
	p := open(t, Options{})
	r := testregistry.Test(t)
	image := dataImage(t, 2, 1000)
	ref := push(t, r, "app:v1", image)
	ctx := context.Background()

	t.Run("refuses", func(t *testing.T) {
		unchanged(t, p)
		cause := errors.New("nobody has signed this")
		_, err := p.Images().Pull(ctx, ref, compute.PullOptions{
			Verify: func(context.Context, string, string) error {
				for _, thing := range stock(t, p) {
					assert.NotContains(t, thing, "snapshot ")
				}
				return cause
			},
		})
		assert.ErrorIs(t, err, cause)
		assert.ErrorIs(t, err, errdefs.ErrPermissionDenied)
	})
	t.Run("keeps the kind of its error", func(t *testing.T) {
		_, err := p.Images().Pull(ctx, ref, compute.PullOptions{
			Verify: func(context.Context, string, string) error { return errdefs.ErrUnavailable },
		})
		assert.ErrorIs(t, err, errdefs.ErrUnavailable)
		assert.NotErrorIs(t, err, errdefs.ErrPermissionDenied)
	})
	t.Run("accepts", func(t *testing.T) {
		for range 2 { // also what is there is verified
			var gotRef, gotID string
			_, err := p.Images().Pull(ctx, ref, compute.PullOptions{
				Verify: func(_ context.Context, ref, id string) error {
					gotRef, gotID = ref, id
					return nil
				},
			})
			require.NoError(t, err)
			assert.Equal(t, ref, gotRef)
			assert.Equal(t, idOf(t, image), gotID)
		}
	})
}

func TestPullCancelled(t *testing.T) {
	p := open(t, Options{})
	for name, fault := range map[string]testregistry.Fault{
		"while the name is looked up":   on(testregistry.Manifests, testregistry.Stall()),
		"while a layer stalls":          on(testregistry.Blobs, testregistry.StallAfter(2000)),
		"before a layer begins":         {On: testregistry.Blobs, Effect: testregistry.Stall(), Skip: 2},
		"while a layer comes in slow":   on(testregistry.Blobs, testregistry.Slow(1000)),
		"while the manifest is awaited": {On: testregistry.Manifests, Effect: testregistry.Stall(), Skip: 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := testregistry.Test(t)
			ref := push(t, r, "app:v1", dataImage(t, 3, 50_000))
			r.Inject(fault)
			unchanged(t, p)
			ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
			defer cancel()
			begun := time.Now()
			_, err := p.Images().Pull(ctx, ref, compute.PullOptions{})
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Less(t, time.Since(begun), 5*time.Second)
		})
	}
	t.Run("before it begins", func(t *testing.T) {
		r := testregistry.Test(t)
		ref := push(t, r, "app:v1", dataImage(t, 1, 10))
		unchanged(t, p)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err := p.Images().Pull(ctx, ref, compute.PullOptions{})
		assert.ErrorIs(t, err, context.Canceled)
		assert.Zero(t, r.Count())
	})
	t.Run("in the hook", func(t *testing.T) {
		r := testregistry.Test(t)
		ref := push(t, r, "app:v1", dataImage(t, 1, 10))
		unchanged(t, p)
		ctx, cancel := context.WithCancel(context.Background())
		_, err := p.Images().Pull(ctx, ref, compute.PullOptions{Verify: func(context.Context, string, string) error {
			cancel()
			return nil
		}})
		assert.ErrorIs(t, err, context.Canceled)
	})
}

func TestPullGoesOnWhereTheConnectionBroke(t *testing.T) {
	p := open(t, Options{})
	r := testregistry.Test(t)
	ref := push(t, r, "app:v1", dataImage(t, 1, 3_000_000))
	r.Inject(testregistry.Fault{On: testregistry.Blobs, Effect: testregistry.Truncate(), Skip: 1, Times: 1})
	_, err := p.Images().Pull(context.Background(), ref, compute.PullOptions{})
	require.NoError(t, err)
	var ranges int
	for _, req := range r.Requests() {
		if req.Range != "" {
			ranges++
		}
	}
	assert.Equal(t, 1, ranges)
}

func TestPullRegistryDiesUnderWay(t *testing.T) {
	p := open(t, Options{})
	r := testregistry.Test(t)
	ref := push(t, r, "app:v1", dataImage(t, 1, 100_000))
	r.Inject(testregistry.Fault{On: testregistry.Blobs, Effect: testregistry.StallAfter(2000), Skip: 1})
	unchanged(t, p)
	var once sync.Once
	_, err := p.Images().Pull(context.Background(), ref, compute.PullOptions{
		Progress: func(now resource.Progress) {
			if now.Done > 0 {
				once.Do(func() { go func() { _ = r.Down() }() })
			}
		},
	})
	assert.ErrorIs(t, err, errdefs.ErrUnavailable)
	assert.ErrorContains(t, err, "connection refused")
}

func TestPullsOfOneImageAtOnce(t *testing.T) {
	p := open(t, Options{})
	r := testregistry.Test(t)
	ref := push(t, r, "app:v1", dataImage(t, 3, 50_000))
	var all sync.WaitGroup
	errs := make([]error, 8)
	for n := range errs {
		all.Go(func() { _, errs[n] = p.Images().Pull(context.Background(), ref, compute.PullOptions{}) })
	}
	all.Wait()
	require.NoError(t, errors.Join(errs...))
	fetched := map[string]int{}
	for _, req := range r.Requests() {
		if req.Method == "GET" {
			fetched[req.Path]++
		}
	}
	assert.Len(t, fetched, 5)
	for path, n := range fetched {
		assert.Equal(t, 1, n, path)
	}
	for _, thing := range stock(t, p) {
		assert.NotRegexp(t, "^(ingest|lease|snapshot Active)", thing)
	}
}

func TestPullAfterClose(t *testing.T) {
	p := open(t, Options{})
	r := testregistry.Test(t)
	ref := push(t, r, "app:v1", dataImage(t, 1, 100_000))
	r.RequireBasic("u", "p")
	r.Inject(on(testregistry.Blobs, testregistry.StallAfter(100)))
	ended := make(chan error, 1)
	begun := make(chan struct{})
	go func() {
		_, err := p.Images().Pull(context.Background(), ref, compute.PullOptions{
			Credentials: func(context.Context, string) (string, resource.Secret, error) {
				close(begun)
				return "u", resource.NewSecret("p"), nil
			},
		})
		ended <- err
	}()
	<-begun
	require.NoError(t, p.Close())
	assert.ErrorIs(t, <-ended, resource.ErrClosed)
	_, err := p.Images().Pull(context.Background(), ref, compute.PullOptions{})
	assert.ErrorIs(t, err, resource.ErrClosed)
	for _, err := range p.Images().List(context.Background(), compute.ImageFilter{}) {
		assert.ErrorIs(t, err, resource.ErrClosed)
	}
}
