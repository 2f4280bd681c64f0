package fake_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

func TestRequireEmpty(t *testing.T) {
	ephemeral := func(s *compute.Spec) { s.Lifetime = resource.Ephemeral }
	for name, c := range map[string]struct {
		use  func(r *recorder, p *fake.Provider)
		want []string
	}{
		"nothing": {use: func(*recorder, *fake.Provider) {}},
		"what was deleted": {use: func(_ *recorder, p *fake.Provider) {
			inst := start(t, p, "web")
			require.NoError(t, inst.Delete(t.Context(), compute.DeleteOptions{Force: true}))
		}},
		"an image": {use: func(_ *recorder, p *fake.Provider) {
			_, err := p.Images().Pull(t.Context(), "app", compute.PullOptions{})
			require.NoError(t, err)
		}},
		"what goes with the value": {use: func(_ *recorder, p *fake.Provider) {
			createVolume(t, p, storage.Spec{Name: "data", Lifetime: resource.Ephemeral})
			_, err := p.Networks().Create(t.Context(), network.Spec{Name: "lan", Lifetime: resource.Ephemeral})
			require.NoError(t, err)
			start(t, p, "web", ephemeral, func(s *compute.Spec) {
				s.Mounts = []compute.Mount{{Type: compute.MountVolume, Source: "data", Path: "/data"}}
				s.Networks = []compute.NetworkAttachment{{Network: "lan"}}
			})
		}},
		"what is ephemeral and cannot go": {
			use: func(_ *recorder, p *fake.Provider) {
				createVolume(t, p, storage.Spec{Name: "data", Lifetime: resource.Ephemeral})
				create(t, p, "web", func(s *compute.Spec) {
					s.Mounts = []compute.Mount{{Type: compute.MountVolume, Source: "data", Path: "/data"}}
				})
			},
			want: []string{"default/volume/data", "default/instance/web"},
		},
		"what is ephemeral of a value that was not closed": {
			use: func(_ *recorder, p *fake.Provider) {
				create(t, fake.New(fake.Options{Backend: p.Backend()}), "web", ephemeral)
			},
			want: []string{"default/instance/web"},
		},
		"what has a time to live": {
			use: func(_ *recorder, p *fake.Provider) {
				create(t, p, "web", func(s *compute.Spec) { s.Lifetime = resource.Until(time.Now().Add(time.Hour)) })
			},
			want: []string{"default/instance/web"},
		},
		"what is foreign": {use: func(_ *recorder, p *fake.Provider) {
			_, err := p.Backend().PlantForeign("", compute.Spec{Name: "web", Image: "app"})
			require.NoError(t, err)
		}},
		"one of each": {
			use: func(_ *recorder, p *fake.Provider) {
				start(t, p, "web")
				_, err := p.Volumes().Create(t.Context(), storage.Spec{Name: "data"})
				require.NoError(t, err)
				_, err = p.Networks().Create(t.Context(), network.Spec{Name: "lan"})
				require.NoError(t, err)
			},
			want: []string{"default/instance/web", "default/volume/data", "default/network/lan"},
		},
		"another value's": {
			use: func(_ *recorder, p *fake.Provider) {
				create(t, fake.New(fake.Options{Backend: p.Backend(), Namespace: "other"}), "web")
			},
			want: []string{"other/instance/web"},
		},
		"what a crash left": {
			use: func(_ *recorder, p *fake.Provider) {
				create(t, p, "web", ephemeral)
				p.Crash()
			},
			want: []string{"default/instance/web"},
		},
		"a test that has failed": {use: func(r *recorder, p *fake.Provider) {
			create(t, p, "web")
			r.failed = true
		}, want: []string{"log: "}},
	} {
		t.Run(name, func(t *testing.T) {
			r := &recorder{}
			p := fake.Test(r, fake.Options{RequireEmpty: true})
			c.use(r, p)
			r.end()
			require.Len(t, r.errors, len(c.want), "%q", r.errors)
			for n, want := range c.want {
				assert.Contains(t, r.errors[n], want)
			}
		})
	}
}

func TestRequireEmptyOnABackendOfMany(t *testing.T) {
	b := fake.NewBackend(fake.Options{})
	defer b.Close()
	create(t, fake.New(fake.Options{Backend: b}), "other")
	r := &recorder{}
	p := fake.Test(r, fake.Options{Backend: b, RequireEmpty: true})
	create(t, p, "own")
	r.end()
	require.Len(t, r.errors, 1, "%q", r.errors)
	assert.Contains(t, r.errors[0], "the test left behind fake:default/instance/own")
}
