package testregistry_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime/pprof"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	testimage "github.com/univirt/univirt/providers/providertest/image"
	testregistry "github.com/univirt/univirt/providers/providertest/registry"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pull fetches an image in full and compares all of it with its digests.
func pull(ctx context.Context, ref string, options ...remote.Option) error {
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return err
	}
	pooled := http.DefaultTransport.(*http.Transport).Clone()
	defer pooled.CloseIdleConnections()
	image, err := remote.Image(parsed, append([]remote.Option{
		remote.WithContext(ctx),
		remote.WithTransport(pooled),
		remote.WithRetryBackoff(remote.Backoff{Steps: 1}),
	}, options...)...)
	if err != nil {
		return err
	}
	blobs, err := testimage.Blobs(image)
	if err != nil {
		return err
	}
	for _, b := range blobs {
		if _, err := b.Content(); err != nil {
			return err
		}
	}
	return nil
}

func image(t *testing.T, layers int, size int64) v1.Image {
	t.Helper()
	image, err := testimage.Data(testimage.Options{Layers: layers, LayerSize: size})
	require.NoError(t, err)
	return image
}

func TestMain(m *testing.M) {
	code := m.Run()
	// Close waits for the registry's goroutines; those of clients may take a
	// moment to see the end of their connections.
	for end := time.Now().Add(5 * time.Second); ; {
		var stacks strings.Builder
		_ = pprof.Lookup("goroutine").WriteTo(&stacks, 1)
		if !strings.Contains(stacks.String(), "net/http") {
			break
		}
		if time.Now().After(end) {
			_, _ = io.WriteString(os.Stderr, "goroutines are left:\n"+stacks.String())
			code = 1
			break
		}
		time.Sleep(10 * time.Millisecond) // No event tells of the end of goroutines.
	}
	os.Exit(code)
}

func TestFaults(t *testing.T) {
	status := func(want int) func(*testing.T, error) {
		return func(t *testing.T, err error) {
			var got *transport.Error
			require.ErrorAs(t, err, &got)
			assert.Equal(t, want, got.StatusCode)
		}
	}
	cases := map[string]struct {
		fault testregistry.Fault
		check func(*testing.T, error)
	}{
		"forbidden": {
			testregistry.Fault{Effect: testregistry.Status(http.StatusForbidden)},
			status(http.StatusForbidden)},
		"not found": {
			testregistry.Fault{On: testregistry.Manifests, Effect: testregistry.Status(http.StatusNotFound)},
			status(http.StatusNotFound)},
		"server error of a blob": {
			testregistry.Fault{On: testregistry.Blobs, Effect: testregistry.Status(http.StatusInternalServerError)},
			status(http.StatusInternalServerError)},
		"too many requests": {
			testregistry.Fault{Effect: testregistry.RateLimit(1500 * time.Millisecond)},
			status(http.StatusTooManyRequests)},
		"corrupt": {
			testregistry.Fault{On: testregistry.Blobs, Effect: testregistry.Corrupt()},
			func(t *testing.T, err error) { assert.ErrorContains(t, err, "checksum") }},
		"truncated": {
			testregistry.Fault{On: testregistry.Blobs, Effect: testregistry.Truncate()},
			func(t *testing.T, err error) { assert.ErrorIs(t, err, io.ErrUnexpectedEOF) }},
		"another path": {
			testregistry.Fault{On: testregistry.Path("/v2/other/*/*"), Effect: testregistry.Stall()},
			func(t *testing.T, err error) { assert.NoError(t, err) }},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := testregistry.Test(t)
			ref, err := r.Push("team/app:v1", image(t, 2, 100_000))
			require.NoError(t, err)
			remove := r.Inject(c.fault)
			c.check(t, pull(t.Context(), ref))
			remove()
			remove()
			assert.NoError(t, pull(t.Context(), ref), "the fault is gone")
		})
	}
}

func TestFaultCounts(t *testing.T) {
	r := testregistry.Test(t)
	ref, err := r.Push("app:v1", image(t, 1, 10))
	require.NoError(t, err)
	r.Inject(testregistry.Fault{
		On: testregistry.Path("/v2/app/manifests/*"), Effect: testregistry.Status(http.StatusBadGateway), Skip: 1, Times: 2})
	r.Inject(testregistry.Fault{
		On: testregistry.Path("/v2/app/manifests/*"), Effect: testregistry.Status(http.StatusTeapot), Skip: 1, Times: 1})

	var got []int
	for range 6 {
		got = append(got, get(t, "http://"+r.Host()+"/v2/app/manifests/v1", nil).StatusCode)
	}
	assert.Equal(t, []int{200, 502, 502, 418, 200, 200}, got,
		"the first fault has precedence, and each skips what reaches it")
	assert.Equal(t, 3, r.Count(http.StatusOK))
	assert.Equal(t, 2, r.Count(http.StatusBadGateway))
	assert.Equal(t, 6, r.Count())
	r.Forget()
	assert.Empty(t, r.Requests())

	r.Inject(testregistry.Fault{Effect: testregistry.Status(http.StatusForbidden)})
	require.Error(t, pull(t.Context(), ref))
	r.Heal()
	assert.NoError(t, pull(t.Context(), ref))
}

// get asks for a URL on a connection of its own and reads the answer in full.
func get(t *testing.T, url string, header http.Header) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	req.Header, req.Close = header, true
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	resp.Body = io.NopCloser(strings.NewReader(string(body)))
	return resp
}

func TestRateLimitSaysWhen(t *testing.T) {
	r := testregistry.Test(t)
	r.Inject(testregistry.Fault{Effect: testregistry.RateLimit(1500 * time.Millisecond)})
	resp := get(t, "http://"+r.Host()+"/v2/", nil)
	assert.Equal(t, http.StatusTooManyRequests, resp.StatusCode)
	assert.Equal(t, "2", resp.Header.Get("Retry-After"))
}

func TestSlow(t *testing.T) {
	r := testregistry.Test(t)
	ref, err := r.Push("app:v1", image(t, 1, 20_000))
	require.NoError(t, err)
	r.Inject(testregistry.Fault{On: testregistry.Blobs, Effect: testregistry.Slow(100_000)})
	start := time.Now()
	require.NoError(t, pull(t.Context(), ref))
	assert.GreaterOrEqual(t, time.Since(start), 200*time.Millisecond)
}

func TestDelay(t *testing.T) {
	r := testregistry.Test(t)
	ref, err := r.Push("app:v1", image(t, 1, 10))
	require.NoError(t, err)
	r.Inject(testregistry.Fault{On: testregistry.Manifests, Effect: testregistry.Delay(50 * time.Millisecond), Times: 1})
	start := time.Now()
	require.NoError(t, pull(t.Context(), ref))
	assert.GreaterOrEqual(t, time.Since(start), 50*time.Millisecond)
}

func TestStalled(t *testing.T) {
	effects := map[string]struct {
		effect testregistry.Effect
		method string
		sent   int64
	}{
		"at once":         {testregistry.Stall(), http.MethodGet, 0},
		"after some":      {testregistry.StallAfter(5), http.MethodGet, 5},
		"while uploading": {testregistry.Stall(), http.MethodPost, 0},
		"all but stopped": {testregistry.Slow(1), http.MethodGet, 1},
		"delayed":         {testregistry.Delay(time.Hour), http.MethodGet, 0},
	}
	ends := map[string]func(r *testregistry.Registry, cancel func()){
		"client leaves":   func(_ *testregistry.Registry, cancel func()) { cancel() },
		"registry closes": func(r *testregistry.Registry, _ func()) { _ = r.Close() },
		"registry dies":   func(r *testregistry.Registry, _ func()) { _ = r.Down() },
	}
	for name, c := range effects {
		for ending, end := range ends {
			t.Run(name+", "+ending, func(t *testing.T) {
				r := testregistry.Test(t)
				_, err := r.Push("app:v1", image(t, 1, 1000))
				require.NoError(t, err)
				reached := make(chan struct{}, 1)
				r.Inject(testregistry.Fault{Effect: func(w http.ResponseWriter, req *http.Request, next http.Handler) {
					reached <- struct{}{}
					c.effect(w, req, next)
				}})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				req, err := http.NewRequestWithContext(ctx, c.method, "http://"+r.Host()+"/v2/app/manifests/v1", strings.NewReader("body"))
				require.NoError(t, err)
				req.Close = true
				outcome := make(chan error, 1)
				go func() {
					resp, err := http.DefaultClient.Do(req)
					if err == nil {
						_, err = io.ReadAll(resp.Body)
						resp.Body.Close()
					}
					outcome <- err
				}()
				<-reached
				end(r, cancel)
				require.Error(t, <-outcome)
				require.NoError(t, r.Close())
				requests := r.Requests()
				require.Len(t, requests, 1)
				assert.LessOrEqual(t, requests[0].Bytes, c.sent)
			})
		}
	}
}

func TestDownAndUp(t *testing.T) {
	r := testregistry.Test(t)
	require.NoError(t, r.Down())
	require.NoError(t, r.Down(), "twice")
	ref, err := r.Push("app:v1", image(t, 1, 10))
	require.NoError(t, err, "content can be stored while the registry is down")
	assert.ErrorIs(t, pull(t.Context(), ref), syscall.ECONNREFUSED)
	require.NoError(t, r.Up())
	require.NoError(t, r.Up(), "twice")
	assert.NoError(t, pull(t.Context(), ref))
	require.NoError(t, r.Close())
	require.NoError(t, r.Close(), "twice")
	assert.ErrorIs(t, r.Up(), net.ErrClosed)
}

func TestCredentials(t *testing.T) {
	demands := map[string]func(r *testregistry.Registry){
		"basic": func(r *testregistry.Registry) { r.RequireBasic("ann", "secret") },
		"token": func(r *testregistry.Registry) { r.RequireToken("ann", "secret") },
	}
	for name, demand := range demands {
		t.Run(name, func(t *testing.T) {
			r := testregistry.Test(t)
			ref, err := r.Push("team/app:v1", image(t, 1, 10))
			require.NoError(t, err)
			demand(r)
			ok := remote.WithAuth(&authn.Basic{Username: "ann", Password: "secret"})

			var refused *transport.Error
			require.ErrorAs(t, pull(t.Context(), ref), &refused, "no credentials")
			assert.Equal(t, http.StatusUnauthorized, refused.StatusCode)
			wrong := remote.WithAuth(&authn.Basic{Username: "ann", Password: "guess"})
			require.ErrorAs(t, pull(t.Context(), ref, wrong), &refused, "wrong credentials")
			assert.Equal(t, http.StatusUnauthorized, refused.StatusCode)
			require.NoError(t, pull(t.Context(), ref, ok))

			_, err = r.Push("team/app:v2", image(t, 1, 10))
			require.NoError(t, err, "storing content needs no credentials")
			r.Inject(testregistry.Fault{Effect: testregistry.Status(http.StatusForbidden)})
			require.ErrorAs(t, pull(t.Context(), ref, ok), &refused)
			assert.Equal(t, http.StatusForbidden, refused.StatusCode, "faults come first")
			r.Heal()
			assert.NoError(t, pull(t.Context(), ref), "no credentials are needed any more")
		})
	}
}

func TestTokens(t *testing.T) {
	r := testregistry.Test(t)
	_, err := r.Push("team/app:v1", image(t, 1, 10))
	require.NoError(t, err)
	r.RequireToken("ann", "secret")
	manifest := "http://" + r.Host() + "/v2/team/app/manifests/v1"
	resp := get(t, manifest, nil)
	assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	assert.Equal(t,
		`Bearer realm="http://`+r.Host()+`/token",service="`+r.Host()+`",scope="repository:team/app:pull"`,
		resp.Header.Get("WWW-Authenticate"))

	cases := map[string]struct {
		form url.Values
		want int
	}{
		"OAuth":          {url.Values{"grant_type": {"password"}, "username": {"ann"}, "password": {"secret"}}, 200},
		"wrong password": {url.Values{"grant_type": {"password"}, "username": {"ann"}, "password": {"x"}}, 401},
		"another grant":  {url.Values{"grant_type": {"refresh_token"}, "username": {"ann"}, "password": {"secret"}}, 401},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			resp, err := http.PostForm("http://"+r.Host()+"/token", c.form)
			require.NoError(t, err)
			defer http.DefaultClient.CloseIdleConnections()
			defer resp.Body.Close()
			require.Equal(t, c.want, resp.StatusCode)
			if c.want != http.StatusOK {
				return
			}
			var answer struct {
				Token string `json:"access_token"`
			}
			require.NoError(t, json.NewDecoder(resp.Body).Decode(&answer))
			bearer := http.Header{"Authorization": {"Bearer " + answer.Token}}
			assert.Equal(t, http.StatusOK, get(t, manifest, bearer).StatusCode)
			r.RevokeTokens()
			assert.Equal(t, http.StatusUnauthorized, get(t, manifest, bearer).StatusCode)
		})
	}
}

func TestResume(t *testing.T) {
	r := testregistry.Test(t)
	app := image(t, 1, 1000)
	_, err := r.Push("app:v1", app)
	require.NoError(t, err)
	blobs, err := testimage.Blobs(app)
	require.NoError(t, err)
	content, err := blobs[0].Content()
	require.NoError(t, err)
	address := "http://" + r.Host() + "/v2/app/blobs/" + blobs[0].Digest.String()
	cases := map[string]struct {
		ask  string
		code int
		want []byte
	}{
		"all":         {"", 200, content},
		"to the end":  {"bytes=100-", 206, content[100:]},
		"a part":      {"bytes=100-199", 206, content[100:200]},
		"not a range": {"bytes=x-", 416, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			header := http.Header{}
			if c.ask != "" {
				header.Set("Range", c.ask)
			}
			resp := get(t, address, header)
			require.Equal(t, c.code, resp.StatusCode)
			if c.want != nil {
				body, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				assert.Equal(t, c.want, body)
			}
		})
	}
}

func TestIndexAndClientPush(t *testing.T) {
	r := testregistry.Test(t)
	one, err := testimage.Data(testimage.Options{Layers: 1, Platform: v1.Platform{OS: "linux", Architecture: "amd64"}})
	require.NoError(t, err)
	two, err := testimage.Data(testimage.Options{Layers: 1, Platform: v1.Platform{OS: "linux", Architecture: "s390x"}})
	require.NoError(t, err)
	index, err := testimage.Index(one, two)
	require.NoError(t, err)
	ref, err := r.Push("app:multi", index)
	require.NoError(t, err)
	for arch, want := range map[string]v1.Image{"amd64": one, "s390x": two} {
		parsed, err := name.ParseReference(ref)
		require.NoError(t, err)
		got, err := remote.Image(parsed, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: arch}))
		require.NoError(t, err)
		assert.Equal(t, digest(t, want), digest(t, got))
	}
	parsed, err := name.ParseReference(r.Ref("pushed:v1"))
	require.NoError(t, err)
	require.NoError(t, remote.Write(parsed, one))
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	remote.DefaultTransport.(*http.Transport).CloseIdleConnections()
	assert.NoError(t, pull(t.Context(), r.Ref("pushed@"+digest(t, one).String())))
}

func digest(t *testing.T, a testimage.Artifact) v1.Hash {
	t.Helper()
	d, err := a.Digest()
	require.NoError(t, err)
	return d
}

func TestBadReference(t *testing.T) {
	r := testregistry.Test(t)
	_, err := r.Push("No Such:Name", image(t, 0, 0))
	assert.Error(t, err)
	assert.Panics(t, func() { testregistry.Path("[") })
}

func TestConcurrentUse(t *testing.T) {
	r := testregistry.Test(t)
	app := image(t, 2, 1000)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			ref, err := r.Push(fmt.Sprintf("app%d:v1", i), app)
			if !assert.NoError(t, err) {
				return
			}
			remove := r.Inject(testregistry.Fault{
				On: testregistry.Path(fmt.Sprintf("/v2/app%d/blobs/*", i)), Effect: testregistry.Corrupt()})
			assert.Error(t, pull(t.Context(), ref))
			remove()
			assert.NoError(t, pull(t.Context(), ref))
			r.Count()
		})
	}
	group.Wait()
}
