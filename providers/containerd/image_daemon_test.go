package containerd

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/snapshots"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	testimage "github.com/univirt/univirt/providers/providertest/image"
	testregistry "github.com/univirt/univirt/providers/providertest/registry"
)

// seeds makes the images of each test differ from those of every other: content
// is shared by the namespaces of a daemon.
var seeds atomic.Uint64

// dataImage makes an image of layers that no other test has.
func dataImage(t testing.TB, layers int, size int64) v1.Image {
	t.Helper()
	image, err := testimage.Data(testimage.Options{Layers: layers, LayerSize: size, Seed: seeds.Add(1)})
	require.NoError(t, err)
	return image
}

func platformImage(t testing.TB, p v1.Platform) v1.Image {
	t.Helper()
	image, err := testimage.Data(testimage.Options{Layers: 1, LayerSize: 512, Seed: seeds.Add(1), Platform: p})
	require.NoError(t, err)
	return image
}

// push puts an image into a registry and returns its full reference.
func push(t testing.TB, r *testregistry.Registry, name string, image testimage.Artifact) string {
	t.Helper()
	ref, err := r.Push(name, image)
	require.NoError(t, err)
	return ref
}

func idOf(t testing.TB, a testimage.Artifact) string {
	t.Helper()
	d, err := a.Digest()
	require.NoError(t, err)
	return d.String()
}

// stock is everything that images leave in a namespace.
func stock(t testing.TB, p *Provider) []string {
	t.Helper()
	ctx, done, err := p.begin(context.Background())
	require.NoError(t, err)
	defer done()
	var all []string
	images, err := p.client.ImageService().List(ctx)
	require.NoError(t, err)
	for _, i := range images {
		all = append(all, "image "+i.Name+" "+i.Target.Digest.String())
	}
	require.NoError(t, p.client.ContentStore().Walk(ctx, func(info content.Info) error {
		all = append(all, "content "+info.Digest.String())
		return nil
	}))
	statuses, err := p.client.ContentStore().ListStatuses(ctx)
	require.NoError(t, err)
	for _, s := range statuses {
		all = append(all, "ingest "+s.Ref)
	}
	leases, err := p.client.LeasesService().List(ctx)
	require.NoError(t, err)
	for _, l := range leases {
		// The provider's own serves its instances.
		if len(l.ID) > 14 && l.ID[:14] == "univirt-image-" {
			all = append(all, "lease "+l.ID)
		}
	}
	require.NoError(t, p.client.SnapshotService(p.snapshotter).Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		all = append(all, fmt.Sprintf("snapshot %s %s", info.Kind, info.Name))
		return nil
	}))
	slices.Sort(all)
	return all
}

// unchanged checks at the end of a test that images have left nothing new.
func unchanged(t testing.TB, p *Provider) {
	t.Helper()
	before := stock(t, p)
	t.Cleanup(func() { assert.Equal(t, before, stock(t, p)) })
}

// isUnpacked reports whether an instance can be made of the image at once.
func isUnpacked(t testing.TB, p *Provider, image string) bool {
	t.Helper()
	ctx, done, err := p.begin(context.Background())
	require.NoError(t, err)
	defer done()
	resolved, err := p.images.resolve(ctx, image, compute.PullNever)
	require.NoError(t, err)
	_, err = p.client.SnapshotService(p.snapshotter).Stat(ctx, resolved.ChainID)
	return err == nil
}

// removeContent takes content away as another tool might.
func removeContent(t testing.TB, p *Provider, id string) {
	t.Helper()
	ctx, done, err := p.begin(context.Background())
	require.NoError(t, err)
	defer done()
	require.NoError(t, p.client.ContentStore().Delete(ctx, digest.Digest(id)))
}
