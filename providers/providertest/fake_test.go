package providertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/require"

	univirt "github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/providers/providertest/fakeguest"
	testimage "github.com/univirt/univirt/providers/providertest/image"
	"github.com/univirt/univirt/resource"
)

func TestFake(t *testing.T) { Run(t, fakeHarness(t, compute.Container)) }

// TestFakeVM is without a supervisor, which all others have.
func TestFakeVM(t *testing.T) { Run(t, fakeHarnessOf(t, compute.VM, fake.Options{})) }

// TestFakeBehindWrapper holds that a wrapper which knows of no extension hides
// none.
func TestFakeBehindWrapper(t *testing.T) {
	// A virtual machine of the fake has more extensions than a container.
	h := fakeHarness(t, compute.VM)
	open := h.OpenBeside
	h.OpenBeside = func(ctx context.Context, opts OpenOptions, others ...network.Networks) (univirt.Provider, error) {
		p, err := open(ctx, opts, others...)
		if err != nil {
			return nil, err
		}
		return &wrapped{p}, nil
	}
	h.Open = func(ctx context.Context, opts OpenOptions) (univirt.Provider, error) { return h.OpenBeside(ctx, opts) }
	Run(t, h)
}

const fakeImage = "docker.io/library/guest:1"

// fakeHarness is a backend of the fake with a supervisor and the programs of
// package guest.
func fakeHarness(t testing.TB, kind compute.Kind) Harness {
	return fakeHarnessOf(t, kind, fake.Options{Supervised: true})
}

// fakeHarnessOf is a backend of the fake with some options and the programs of package
// guest.
func fakeHarnessOf(t testing.TB, kind compute.Kind, opts fake.Options) Harness {
	opts.Programs = map[string]fake.Program{GuestPath: fakeguest.Program()}
	opts.ProgramGrace = 20 * time.Second // this machine may have others to serve
	opts.Pools = map[string]int64{"default": 0, "small": 16 * resource.MiB}
	opts.Images = []fake.Image{
		{Name: fakeImage, Local: true},
		{Name: "docker.io/library/remote:1", Files: fstest.MapFS{"data/0": {Data: make([]byte, 1<<16)}}},
	}
	b := fake.NewBackend(opts)
	t.Cleanup(func() {
		require.NoError(t, b.Close())
		require.Empty(t, b.Abandoned(), "programs that did not return")
	})
	var fresh atomic.Int64
	open := func(namespace, owner string, others ...network.Networks) *fake.Provider {
		return fake.New(fake.Options{Backend: b, Namespace: namespace, Owner: owner, OtherNetworks: others})
	}
	h := Harness{
		Kind:  kind,
		Image: fakeImage,
		Open: func(_ context.Context, opts OpenOptions) (univirt.Provider, error) {
			return open(opts.Namespace, opts.Owner), nil
		},
		OpenBeside: func(_ context.Context, opts OpenOptions, others ...network.Networks) (univirt.Provider, error) {
			return open(opts.Namespace, opts.Owner, others...), nil
		},
		Inventory: func(_ context.Context, namespace string) ([]string, error) {
			p := open(namespace, "")
			defer p.Close()
			var items []string
			for line := range strings.Lines(p.Dump()) {
				if !strings.HasPrefix(line, " ") {
					items = append(items, strings.TrimSpace(line))
				}
			}
			return items, nil
		},
		Crash: func(_ context.Context, p univirt.Provider) error {
			f, ok := resource.As[*fake.Provider](p)
			if !ok {
				return errors.New("no fake")
			}
			f.Crash()
			return nil
		},
		Sever: func(p univirt.Provider, o Outage) (<-chan struct{}, func(), error) {
			f, ok := resource.As[*fake.Provider](p)
			if !ok {
				return nil, nil, errors.New("no fake")
			}
			lose := func(s fake.Site) *fake.Injection {
				if o.Hangs {
					return f.Fail(s.Hanging())
				}
				return f.Fail(s.With(errdefs.ErrUnavailable))
			}
			// Of calls counted from 1.
			if !o.Taken {
				all := lose(fake.On().From(o.Call + 1))
				return all.FirstStrike(), all.Remove, nil
			}
			first, later := lose(fake.On().Nth(o.Call+1).After()), lose(fake.On().From(o.Call+2))
			return first.FirstStrike(), func() { first.Remove(); later.Remove() }, nil
		},
		Force: func(_ context.Context, p univirt.Provider, id string, state compute.State) error {
			f, ok := resource.As[*fake.Provider](p)
			if !ok {
				return errors.New("no fake")
			}
			return f.Break(id, state, "broken by the test")
		},
		Foreign: func(_ context.Context, namespace string) (func(context.Context) error, error) {
			ref, err := b.PlantForeign(namespace, compute.Spec{
				Name: "foreign", Kind: kind, Image: fakeImage, Process: compute.Process{Command: []string{GuestPath, "sleep", "1h"}},
			})
			return func(ctx context.Context) error {
				p := open(namespace, "")
				defer p.Close()
				return p.Instances().Handle(ref.ID).Delete(ctx, compute.DeleteOptions{Force: true})
			}, err
		},
		Remote: "docker.io/library/remote:1",
		Gone:   "docker.io/library/gone:1",
		Fresh: func() (string, func(string) int, error) {
			name := fmt.Sprintf("docker.io/library/fresh:%d", fresh.Add(1))
			return name, b.Downloads, b.Push(fake.Image{Name: name, Files: fstest.MapFS{"name": {Data: []byte(name)}}})
		},
		Refusing: func(kind error) (string, error) {
			name := fmt.Sprintf("docker.io/library/refused:%d", fresh.Add(1))
			return name, b.Push(fake.Image{Name: name, Files: fstest.MapFS{"name": {Data: []byte(name)}},
				Allow: func(string, resource.Secret) error { return kind }})
		},
		SmallPool: "small",
		Archive: func(w io.Writer, format compute.ImageFormat) (string, error) {
			const name = "docker.io/library/archived:1"
			image, err := testimage.Data(testimage.Options{
				Platform: v1.Platform{OS: "linux", Architecture: "amd64"}, Layers: 2, LayerSize: 1000,
			})
			if err != nil {
				return "", err
			}
			if format == compute.DockerArchive {
				return name, testimage.WriteDocker(w, name, image)
			}
			return name, testimage.WriteOCI(w, name, image)
		},
	}
	if has := opts.Features.Images; has != nil && !has.Has(compute.FeatureRootFS) {
		h.Archive = nil
	}
	return h
}
