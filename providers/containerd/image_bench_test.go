package containerd

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/speedtest"
	testregistry "github.com/univirt/univirt/providers/providertest/registry"
	"github.com/univirt/univirt/resource"
)

// pulls are the ways of pulling that are compared: ours, and the client's own,
// which checks neither platform nor document sizes.
var pulls = map[string]func(ctx context.Context, p *Provider, ref string) error{
	"univirt": func(ctx context.Context, p *Provider, ref string) error {
		_, err := p.Images().Pull(ctx, ref, compute.PullOptions{})
		return err
	},
	"client": func(ctx context.Context, p *Provider, ref string) error {
		ctx, done, err := p.begin(ctx)
		if err != nil {
			return err
		}
		defer done()
		resolver := docker.NewResolver(docker.ResolverOptions{Hosts: docker.ConfigureDefaultRegistries(docker.WithPlainHTTP(docker.MatchLocalhost))})
		_, err = p.client.Pull(ctx, ref, client.WithPullUnpack, client.WithPullSnapshotter(p.snapshotter), client.WithResolver(resolver))
		return err
	},
}

// forget removes an image in the way that costs both the same.
func forget(t testing.TB, p *Provider, ref string) {
	ctx, done, err := p.begin(context.Background())
	require.NoError(t, err)
	defer done()
	require.NoError(t, p.client.ImageService().Delete(ctx, ref, images.SynchronousDelete()))
}

func BenchmarkPull(b *testing.B) {
	p := open(b, Options{})
	r := testregistry.Test(b)
	for _, layers := range []int{1, 5, 20} {
		ref := push(b, r, fmt.Sprintf("app:%d", layers), dataImage(b, layers, 100_000))
		for name, pull := range pulls {
			b.Run(fmt.Sprintf("unchanged/layers=%d/%s", layers, name), func(b *testing.B) {
				require.NoError(b, pull(b.Context(), p, ref))
				for b.Loop() {
					require.NoError(b, pull(b.Context(), p, ref))
				}
			})
			b.Run(fmt.Sprintf("fresh/layers=%d/%s", layers, name), func(b *testing.B) {
				for b.Loop() {
					require.NoError(b, pull(b.Context(), p, ref))
					b.StopTimer()
					forget(b, p, ref)
					b.StartTimer()
				}
			})
		}
	}
}

func BenchmarkListImages(b *testing.B) {
	p := open(b, Options{})
	for n := range 50 {
		imported(b, p, fmt.Sprintf("example.test/app:v%d", n))
	}
	for b.Loop() {
		all, err := resource.Collect(p.Images().List(b.Context(), compute.ImageFilter{}))
		require.NoError(b, err)
		require.Len(b, all, 50)
	}
}

// TestSpeedOfPull compares with the client's own pull, in pairs of which either
// is first in turn.
func TestSpeedOfPull(t *testing.T) {
	speedtest.Measured(t)
	p := open(t, Options{})
	r := testregistry.Test(t)
	ref := push(t, r, "app:v1", dataImage(t, 5, 200_000))
	const pairs = 30
	for name, fresh := range map[string]bool{"unchanged": false, "fresh": true} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, pulls["univirt"](t.Context(), p, ref))
			times := map[string][]time.Duration{}
			order := []string{"univirt", "client"}
			for range pairs {
				slices.Reverse(order)
				for _, name := range order {
					if fresh {
						forget(t, p, ref)
					}
					begun := time.Now()
					require.NoError(t, pulls[name](t.Context(), p, ref))
					times[name] = append(times[name], time.Since(begun))
				}
			}
			median := func(name string) time.Duration {
				slices.Sort(times[name])
				return times[name][pairs/2]
			}
			ours, theirs := median("univirt"), median("client")
			ratio := float64(ours) / float64(theirs)
			t.Logf("medians of %d: %v, the client alone %v: %.2f times", pairs, ours, theirs, ratio)
			assert.Less(t, ratio, 1.25)
		})
	}
}

// TestCallsOfImages: what is repeated must stay cheap.
func TestCallsOfImages(t *testing.T) {
	p := open(t, Options{})
	r := testregistry.Test(t)
	ref := push(t, r, "app:v1", dataImage(t, 5, 1000))
	image, err := p.Images().Pull(t.Context(), ref, compute.PullOptions{})
	require.NoError(t, err)
	for name, c := range map[string]struct {
		f     func() error
		calls map[string]int
	}{
		"pull of what is there": {
			func() error { _, err := p.Images().Pull(t.Context(), ref, compute.PullOptions{}); return err },
			map[string]int{"Images/List": 1, "Snapshots/Stat": 1},
		},
		"get": {
			func() error { _, err := p.Images().Get(t.Context(), ref); return err },
			map[string]int{"Images/Get": 1, "Images/List": 1},
		},
		"list": {
			func() error {
				_, err := resource.Collect(p.Images().List(t.Context(), compute.ImageFilter{}))
				return err
			},
			map[string]int{"Images/List": 1},
		},
		"resolve": {
			func() error {
				ctx, done, err := p.begin(t.Context())
				if err != nil {
					return err
				}
				defer done()
				_, err = p.images.resolve(ctx, ref, compute.PullIfMissing)
				return err
			},
			map[string]int{"Images/Get": 1},
		},
		"resolve by ID": {
			func() error {
				ctx, done, err := p.begin(t.Context())
				if err != nil {
					return err
				}
				defer done()
				_, err = p.images.resolve(ctx, image.Ref.ID, compute.PullNever)
				return err
			},
			map[string]int{"Images/List": 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			before, _ := Calls(p)
			require.NoError(t, c.f())
			after, _ := Calls(p)
			for method, count := range before {
				if after[method] -= count; after[method] == 0 {
					delete(after, method)
				}
			}
			assert.Equal(t, c.calls, after)
		})
	}
}
