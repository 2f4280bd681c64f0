package testregistry_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	testimage "github.com/univirt/univirt/providers/providertest/image"
	testregistry "github.com/univirt/univirt/providers/providertest/registry"

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
		time.Sleep(10 * time.Millisecond)
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
			func(t *testing.T, err error) { assert.ErrorContains(t, err, "verification") }},
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
