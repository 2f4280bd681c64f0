package univirt_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/resource"
)

// opened is a provider that knows by which URL it was opened.
type opened struct {
	univirt.Provider
	url *url.URL
}

func open(_ context.Context, u *url.URL) (univirt.Provider, error) { return &opened{url: u}, nil }

func TestRegistry(t *testing.T) {
	var r univirt.Registry
	assert.Empty(t, r.Schemes(), "the zero value is empty")
	_, err := r.Open(t.Context(), "fake:")
	assert.EqualError(t, err,
		`open: url.scheme: is not registered: "fake"; registered are none: the packages below providers/ that the program imports`)

	r.Register("beta", open)
	r.Register("alpha", open)
	r.Register("alpha+tls", func(_ context.Context, u *url.URL) (univirt.Provider, error) {
		return &opened{url: &url.URL{Scheme: "special"}}, nil
	})
	assert.Equal(t, []string{"alpha", "alpha+tls", "beta"}, r.Schemes())
	for rawURL, scheme := range map[string]string{
		"alpha:": "alpha", "alpha:///run/x.sock?a=b": "alpha", "ALPHA:": "alpha", "alpha+ssh://user@host/system": "alpha+ssh",
		"alpha+tls:": "special", "beta+a+b:": "beta+a+b",
	} {
		p, err := r.Open(t.Context(), rawURL)
		require.NoError(t, err, rawURL)
		assert.Equal(t, scheme, p.(*opened).url.Scheme)
	}
}

func TestRegisterPanicsAtMistakes(t *testing.T) {
	var r univirt.Registry
	r.Register("alpha", open)
	assert.PanicsWithValue(t, "univirt: the scheme alpha is registered twice", func() { r.Register("alpha", open) })
	assert.Panics(t, func() { r.Register("beta", nil) })
	assert.Panics(t, func() { r.Register("", open) })
	assert.Equal(t, []string{"alpha"}, r.Schemes(), "and can be used afterwards")
}

func TestOpenRefuses(t *testing.T) {
	var r univirt.Registry
	r.Register("alpha", open)
	for rawURL, c := range map[string]struct{ field, message string }{
		"":                                      {"url.scheme", `open: url.scheme: is required, as in "fake:"`},
		"alpha":                                 {"url.scheme", `open: url.scheme: is required; did you mean "alpha:"?`},
		"alpha?name=hunter2":                    {"url.scheme", `open: url.scheme: is required; did you mean "alpha:"?`},
		"alphabet":                              {"url.scheme", `open: url.scheme: is required, as in "fake:"`},
		"alpha+%1b[31m":                         {"url.scheme", `open: url.scheme: is required; did you mean "alpha+\x1b[31m:"?`},
		"//user:hunter2@host":                   {"url.scheme", ""},
		"/run/x.sock":                           {"url.scheme", ""},
		"beta:":                                 {"url.scheme", `open: url.scheme: is not registered: "beta"; registered are alpha: the packages below providers/ that the program imports`},
		"beta://user:hunter2@h/":                {"url.scheme", ""},
		"user:hunter2@host":                     {"url.scheme", `open: url.scheme: is not registered: "user"; registered are alpha: the packages below providers/ that the program imports`},
		"+alpha:":                               {"url", ""},
		"alpha ://x":                            {"url", ""},
		":alpha":                                {"url", "open: url: is malformed"},
		"alpha://user:hunter2@h:x/":             {"url", "open: url: is malformed"},
		"alpha://user:hunter2@[::1/":            {"url", "open: url: is malformed"},
		"alpha://%zz:hunter2@h/":                {"url", "open: url: is malformed"},
		"alpha://h/\x00hunter2":                 {"url", "open: url: is malformed"},
		"alpha://h/\nhunter2":                   {"url", "open: url: is malformed"},
		strings.Repeat("a", 1<<20) + ":hunter2": {"url.scheme", ""},
	} {
		p, err := r.Open(t.Context(), rawURL)
		assert.Nil(t, p)
		require.True(t, errdefs.IsInvalidArgument(err), "%.80q: %v", rawURL, err)
		var e *resource.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, "open", e.Op)
		assert.Equal(t, c.field, e.Field, "%.80q", rawURL)
		if c.message != "" {
			assert.EqualError(t, err, c.message)
		}
		assert.NotContains(t, err.Error(), "hunter2", "a password is not told")
		assert.Less(t, len(err.Error()), 400)
	}
}

func TestOpenErrors(t *testing.T) {
	var r univirt.Registry
	var failure error
	calls := 0
	r.Register("alpha", func(context.Context, *url.URL) (univirt.Provider, error) {
		calls++
		return nil, failure
	})
	failure = resource.Errorf(errdefs.ErrUnavailable, "nobody listens on /run/x.sock")
	_, err := r.Open(t.Context(), "alpha:")
	assert.EqualError(t, err, "open: nobody listens on /run/x.sock")
	assert.True(t, errdefs.IsUnavailable(err))
	var e *resource.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, resource.Ref{Provider: "alpha"}, e.Ref)

	failure = resource.Fail("open", resource.Ref{Provider: "alpha", Name: "x"}, errors.New("broken"))
	_, err = r.Open(t.Context(), "alpha:")
	assert.Same(t, failure, err, "what an opener said in full is not said twice")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	calls = 0
	_, err = r.Open(ctx, "alpha:")
	assert.ErrorIs(t, err, context.Canceled)
	assert.Zero(t, calls)
}

func TestRegistryFromManyGoroutines(t *testing.T) {
	var r univirt.Registry
	var group sync.WaitGroup
	for _, scheme := range []string{"a", "b", "c", "d"} {
		group.Go(func() { r.Register(scheme, open) })
		group.Go(func() { r.Schemes() })
		group.Go(func() { _, _ = r.Open(context.Background(), scheme+":") })
	}
	group.Wait()
	assert.Equal(t, []string{"a", "b", "c", "d"}, r.Schemes())
}

func TestParameters(t *testing.T) {
	parse := func(rawURL string) *url.URL {
		u, err := url.Parse(rawURL)
		require.NoError(t, err)
		return u
	}
	for rawURL, want := range map[string]map[string]string{
		"alpha:":                        {},
		"alpha:?":                       {},
		"alpha:?owner=me":               {"owner": "me"},
		"alpha:?owner=&namespace=a%20b": {"owner": "", "namespace": "a b"},
		"alpha:?owner":                  {"owner": ""},
	} {
		got, err := univirt.Parameters(parse(rawURL), "namespace", "owner")
		require.NoError(t, err, rawURL)
		assert.Equal(t, want, got)
	}
	for rawURL, message := range map[string]string{
		"alpha:?colour=red":            "url.query[colour]: is not known; known are namespace, owner",
		"alpha:?Owner=me":              "url.query[Owner]: is not known; known are namespace, owner",
		"alpha:?owner=a&owner=b":       "url.query[owner]: is given twice",
		"alpha:?owner=a;namespace=b":   "url.query: is malformed",
		"alpha:?owner=%zz":             "url.query: is malformed",
		"alpha:?=a":                    `url.query[""]: is not known; known are namespace, owner`,
		"alpha:?a%0Ab=hunter2":         `url.query["a\nb"]: is not known; known are namespace, owner`,
		"alpha:#hunter2":               "url.fragment: must be empty",
		"alpha:?b=hunter2&a=hunter2#x": "url.query[a]: is not known; known are namespace, owner; url.query[b]: is not known; known are namespace, owner; url.fragment: must be empty",
	} {
		_, err := univirt.Parameters(parse(rawURL), "namespace", "owner")
		assert.EqualError(t, err, message)
		assert.True(t, errdefs.IsInvalidArgument(err))
	}
}

func FuzzRegistryOpen(f *testing.F) {
	for _, seed := range []string{
		"", "alpha:", "alpha+ssh://user:pw@host:1/x?owner=a#b", "ALPHA:?owner=%00", "://", "alpha://[::1", "beta:", "alpha:?a;b", "%", "a b:",
	} {
		f.Add(seed)
	}
	var r univirt.Registry
	r.Register("alpha", func(ctx context.Context, u *url.URL) (univirt.Provider, error) {
		if _, err := univirt.Parameters(u, "namespace", "owner"); err != nil {
			return nil, err
		}
		return open(ctx, u)
	})
	f.Fuzz(func(t *testing.T, rawURL string) {
		p, err := r.Open(context.Background(), rawURL)
		if err != nil {
			assert.Nil(t, p)
			assert.True(t, errdefs.IsInvalidArgument(err), "%v", err)
			var e *resource.Error
			require.ErrorAs(t, err, &e)
			assert.True(t, strings.HasPrefix(e.Field, "url"), "%q", e.Field)
			return
		}
		u := p.(*opened).url
		base, _, _ := strings.Cut(u.Scheme, "+")
		assert.Equal(t, "alpha", base)
		assert.Empty(t, u.Fragment)
	})
}
