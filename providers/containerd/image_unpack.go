package containerd

import (
	"context"

	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/unpack"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// unpack fetches the layers and unpacks each as soon as it and those below are
// there.
func (i *install) unpack(ctx context.Context, found *imageContent) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := i.store
	unpacker, err := unpack.NewUnpacker(ctx, s.blobs(),
		unpack.WithUnpackPlatform(unpack.Platform{
			SnapshotterKey: s.p.snapshotter,
			Snapshotter:    pinning{s.p.client.SnapshotService(s.p.snapshotter), s},
			Applier:        &applier{diffService: s.p.client.DiffService(), layers: expectedDiffs(found), progress: i.progress},
		}),
		unpack.WithDuplicationSuppressor(&s.locks),
		// Without it layers are not fetched whose snapshots are there by way of
		// another image, and exporting this one fails. It also makes the unpacker
		// wait for its goroutines.
		unpack.WithFetchAllContent())
	if err != nil {
		return err
	}
	queue := newQueue(found.manifest.layers, parallelDownloads)
	handler := unpacker.Unpack(images.HandlerFunc(func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		switch {
		case images.IsManifestType(desc.MediaType):
			return found.children[len(found.children)-1], nil
		case images.IsLayerType(desc.MediaType):
			last, err := queue.do(ctx, desc.Digest, func() error { return i.source.layer(ctx, desc) })
			if last {
				i.progress.phase(phaseUnpacking)
			}
			return nil, err
		}
		return nil, nil
	}))
	err = images.Dispatch(ctx, handler, nil, found.path[len(found.path)-1])
	if err != nil {
		cancel()
	}
	if _, unpackErr := unpacker.Wait(); err == nil {
		err = unpackErr
	}
	if err == nil {
		for _, layer := range found.manifest.layers {
			i.progress.layer(layer.Digest, phaseDone)
		}
	}
	return plain(err)
}

// expectedDiffs says what each layer must unpack to.
func expectedDiffs(found *imageContent) map[digest.Digest]digest.Digest {
	out := make(map[digest.Digest]digest.Digest, len(found.diffIDs))
	for n, layer := range found.manifest.layers {
		out[layer.Digest] = found.diffIDs[n]
	}
	return out
}

// applier reports on unpacking and gives its errors their kinds.
type applier struct {
	diffService
	layers   map[digest.Digest]digest.Digest
	progress *progress
}

type diffService = interface {
	diff.Comparer
	diff.Applier
}

var _ diff.Applier = (*applier)(nil)

// Apply unpacks one layer.
func (a *applier) Apply(ctx context.Context, desc ocispec.Descriptor, mounts []mount.Mount, opts ...diff.ApplyOpt) (ocispec.Descriptor, error) {
	a.progress.layer(desc.Digest, phaseUnpacking)
	out, err := a.diffService.Apply(ctx, desc, mounts, opts...)
	if err != nil {
		return out, applyFault(desc.Digest, err)
	}
	if want := a.layers[desc.Digest]; out.Digest != want {
		return out, malformed("layer %s unpacks to %s and is said to be %s", desc.Digest, out.Digest, want)
	}
	a.progress.layer(desc.Digest, phaseDone)
	return out, nil
}

// pinning is a snapshotter that puts the snapshots that are there under the
// context's lease. Containerd 2 does so by itself; 1.6.20 does not, and may
// collect one before the next is made on it.
type pinning struct {
	snapshots.Snapshotter
	store *imageStore
}

var _ snapshots.Snapshotter = pinning{}

// Prepare begins a layer's snapshot; AlreadyExists means that it is there.
func (p pinning) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	mounts, err := p.Snapshotter.Prepare(ctx, key, parent, opts...)
	if !errdefs.IsAlreadyExists(err) {
		return mounts, err
	}
	var info snapshots.Info
	for _, opt := range opts {
		if optErr := opt(&info); optErr != nil {
			return nil, optErr
		}
	}
	if pinErr := p.store.pin(ctx, "snapshots/"+p.store.p.snapshotter, info.Labels[snapshots.LabelSnapshotRef]); pinErr != nil {
		return nil, pinErr
	}
	return nil, err
}

// pin puts something that is in the daemon under the context's lease; it need
// not be there. First the lease, so that what is seen then stays.
func (s *imageStore) pin(ctx context.Context, kind, id string) error {
	lease, _ := leases.FromContext(ctx)
	return s.p.client.LeasesService().AddResource(ctx, leases.Lease{ID: lease}, leases.Resource{ID: id, Type: kind})
}
