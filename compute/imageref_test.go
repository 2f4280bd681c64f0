package compute_test

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

var (
	sha256 = "sha256:" + strings.Repeat("a1", 32)
	sha512 = "sha512:" + strings.Repeat("0f", 64)
)

func TestParseImageReference(t *testing.T) {
	ref := func(registry, repository, tag, digest string) compute.ImageReference {
		return compute.ImageReference{Registry: registry, Repository: repository, Tag: tag, Digest: digest}
	}
	for text, want := range map[string]compute.ImageReference{
		"nginx":                            ref("docker.io", "library/nginx", "latest", ""),
		"nginx:1.27":                       ref("docker.io", "library/nginx", "1.27", ""),
		"nginx@" + sha256:                  ref("docker.io", "library/nginx", "", sha256),
		"nginx:1.27@" + sha512:             ref("docker.io", "library/nginx", "1.27", sha512),
		"team/app":                         ref("docker.io", "team/app", "latest", ""),
		"docker.io/nginx":                  ref("docker.io", "library/nginx", "latest", ""),
		"docker.io/library/nginx":          ref("docker.io", "library/nginx", "latest", ""),
		"index.docker.io/nginx":            ref("docker.io", "library/nginx", "latest", ""),
		"docker.io/team/app":               ref("docker.io", "team/app", "latest", ""),
		"localhost":                        ref("docker.io", "library/localhost", "latest", ""),
		"localhost:5000":                   ref("docker.io", "library/localhost", "5000", ""),
		"localhost/app":                    ref("localhost", "app", "latest", ""),
		"localhost:5000/app":               ref("localhost:5000", "app", "latest", ""),
		"localhost:5000/app:v1":            ref("localhost:5000", "app", "v1", ""),
		"registry/app":                     ref("docker.io", "registry/app", "latest", ""),
		"registry:5000/app":                ref("registry:5000", "app", "latest", ""),
		"registry.example.com/app":         ref("registry.example.com", "app", "latest", ""),
		"Registry.Example.COM/app":         ref("Registry.Example.COM", "app", "latest", ""),
		"192.0.2.1:5000/a/b/c:tag":         ref("192.0.2.1:5000", "a/b/c", "tag", ""),
		"[2001:db8::1]:5000/app":           ref("[2001:db8::1]:5000", "app", "latest", ""),
		"[::1]/app":                        ref("[::1]", "app", "latest", ""),
		"foo.bar":                          ref("docker.io", "library/foo.bar", "latest", ""),
		"a/b.c/d_e/f__g/h-i/j---k":         ref("docker.io", "a/b.c/d_e/f__g/h-i/j---k", "latest", ""),
		"a:_":                              ref("docker.io", "library/a", "_", ""),
		"a:A.b-c_d":                        ref("docker.io", "library/a", "A.b-c_d", ""),
		"a:" + strings.Repeat("t", 128):    ref("docker.io", "library/a", strings.Repeat("t", 128), ""),
		"x.io/" + strings.Repeat("a", 255): ref("x.io", strings.Repeat("a", 255), "latest", ""),
	} {
		got, err := compute.ParseImageReference(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
		again, err := compute.ParseImageReference(got.String())
		require.NoError(t, err, got.String())
		assert.Equal(t, got, again)
		assert.Empty(t, compute.CheckImageReference(text))
	}
}

func TestParseImageReferenceRefuses(t *testing.T) {
	for text, reason := range map[string]string{
		"":                                 "must not be empty",
		strings.Repeat("a", 1025):          "must have at most 1024 bytes",
		strings.Repeat("\n", 200):          "has a malformed repository",
		"x.io/" + strings.Repeat("a", 256): "has a repository of more than 255 bytes",
		"UPPER":                            "has a malformed repository",
		"a/B":                              "has a malformed repository",
		" a":                               "has a malformed repository",
		"a ":                               "has a malformed repository",
		"a\x00":                            "has a malformed repository",
		"ä":                                "has a malformed repository",
		"/a":                               "has a malformed repository",
		"a/":                               "has a malformed repository",
		"a//b":                             "has a malformed repository",
		"x.io/":                            "has a malformed repository",
		"-a":                               "has a malformed repository",
		"a-":                               "has a malformed repository",
		"a..b":                             "has a malformed repository",
		"a___b":                            "has a malformed repository",
		"a._b":                             "has a malformed repository",
		"a-_b":                             "has a malformed repository",
		"../a":                             "has a malformed registry",
		"a/../b":                           "has a malformed repository",
		"https://x.io/a":                   "has a malformed registry",
		"user:pw@x.io/a":                   "has a malformed digest",
		"a:":                               "has a malformed tag",
		":a":                               "has a malformed repository",
		"a:.b":                             "has a malformed tag",
		"a:-b":                             "has a malformed tag",
		"a:b:c":                            "has a malformed repository",
		"a:t t":                            "has a malformed tag",
		"a:" + strings.Repeat("t", 129):    "has a malformed tag",
		"a@":                               "has a malformed digest",
		"a@sha256:":                        "has a malformed digest",
		"a@sha256:abc":                     "has a malformed digest",
		"a@" + strings.ToUpper(sha256):     "has a malformed digest",
		"a@" + sha256 + "0":                "has a malformed digest",
		"a@md5:" + strings.Repeat("a", 32): "has a malformed digest",
		"a@" + sha256 + "@" + sha256:       "has a malformed digest",
		"@" + sha256:                       "has a malformed repository",
		sha256:                             "is a digest, not a reference",
		sha256[:70]:                        "is a digest, not a reference",
		"x.io:/a":                          "has a malformed registry",
		"x.io:0/a":                         "has a malformed registry",
		"x.io:65536/a":                     "has a malformed registry",
		"x.io:+80/a":                       "has a malformed registry",
		"x.io:a/b":                         "has a malformed registry",
		"-x.io/a":                          "has a malformed registry",
		"x-.io/a":                          "has a malformed registry",
		".io/a":                            "has a malformed registry",
		"x..io/a":                          "has a malformed registry",
		"x_y.io/a":                         "has a malformed registry",
		"[::1/a":                           "has a malformed registry",
		"[]:80/a":                          "has a malformed registry",
		"[::1]80/a":                        "has a malformed registry",
		"[::g]:80/a":                       "has a malformed registry",
	} {
		got, err := compute.ParseImageReference(text)
		require.Error(t, err, "%q", text)
		assert.Zero(t, got)
		assert.True(t, errdefs.IsInvalidArgument(err))
		faults := resource.FaultsOf(err)
		require.Len(t, faults, 1)
		assert.Equal(t, "image", faults[0].Field)
		assert.True(t, strings.HasPrefix(faults[0].Reason, reason), "%.80q: %s", text, faults[0].Reason)
		if text != sha256 {
			assert.Equal(t, faults[0].Reason, compute.CheckImageReference(text))
		}
		assert.NotContains(t, err.Error(), "\n")
		assert.Less(t, len(err.Error()), 700)
	}
}

func TestCheckImageReferenceTakesIDs(t *testing.T) {
	assert.Empty(t, compute.CheckImageReference(sha256))
	assert.Empty(t, compute.CheckImageReference(sha512))
	assert.NotEmpty(t, compute.CheckImageReference(sha256[:70]+"A"))
}

func TestPlatformString(t *testing.T) {
	for want, p := range map[string]compute.Platform{
		"": {}, "linux": {OS: "linux"}, "linux/amd64": {OS: "linux", Architecture: "amd64"},
		"linux/arm/v7": {OS: "linux", Architecture: "arm", Variant: "v7"},
	} {
		assert.Equal(t, want, p.String())
	}
}

func TestImageFilter(t *testing.T) {
	image := compute.Image{Ref: resource.Ref{ID: sha256}, Names: []string{"docker.io/library/nginx:1.27", "strange name"}}
	for _, c := range []struct {
		filter compute.ImageFilter
		want   bool
	}{
		{compute.ImageFilter{}, true},
		{compute.ImageFilter{IDs: []string{"x", sha256}}, true},
		{compute.ImageFilter{IDs: []string{"x"}}, false},
		{compute.ImageFilter{Names: []string{"nginx:1.27"}}, true},
		{compute.ImageFilter{Names: []string{"docker.io/library/nginx:1.27"}}, true},
		{compute.ImageFilter{Names: []string{"nginx"}}, false},
		{compute.ImageFilter{Names: []string{"strange name"}}, true},
		{compute.ImageFilter{Names: []string{"nginx:1.27"}, IDs: []string{"x"}}, false},
	} {
		assert.Equal(t, c.want, c.filter.Matches(image), "%+v", c.filter)
	}
}

func FuzzParseImageReference(f *testing.F) {
	for _, seed := range []string{
		"nginx", "nginx:1.27@" + sha256, "localhost:5000/a/b", "[::1]:5000/a", "index.docker.io/a", "docker.io/a", "a__b/c---d", sha256,
		"user:pw@x.io/a", "a:b:c", "@", ":", "/", "a/../b", strings.Repeat("a/", 200) + "a",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := compute.ParseImageReference(text)
		if err != nil {
			assert.True(t, errdefs.IsInvalidArgument(err))
			return
		}
		assert.Empty(t, compute.CheckImageReference(text))
		assert.NotEmpty(t, r.Registry)
		assert.NotEmpty(t, r.Tag+r.Digest)
		again, err := compute.ParseImageReference(r.String())
		require.NoError(t, err, r.String())
		assert.Equal(t, r, again)
	})
}
