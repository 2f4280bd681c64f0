package containerd

import (
	"context"
	"slices"
	"sync"

	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/unpack"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// parallelDownloads bounds the layers of one image that are fetched at once.
const parallelDownloads = 4

// source is where the content of an image comes from.
type source interface {
	// document returns an index, a manifest or a configuration, and sees to it
	// that it is in the store, under the context's lease.
	document(ctx context.Context, desc ocispec.Descriptor) ([]byte, error)
	// layer sees to the same for a layer.
	layer(ctx context.Context, desc ocispec.Descriptor) error
}

// install brings what a name stands for into the store and unpacks it. The
// context has a lease.
type install struct {
	store    *imageStore
	source   source
	platform platform
	verify   func(ctx context.Context, ref, digest string) error
	progress *progress
}

func (i *install) run(ctx context.Context, n named) (*imageContent, error) {
	found, err := findContent(ctx, i.source.document, n.target, i.platform)
	if err != nil {
		return nil, err
	}
	if err := i.check(ctx, n); err != nil {
		return nil, err
	}
	i.progress.layers(found.manifest.layers)
	i.progress.phase(phaseDownloading)
	if err := i.unpack(ctx, found); err != nil {
		return nil, err
	}
	return found, i.link(ctx, found)
}

// check asks the caller's hook.
func (i *install) check(ctx context.Context, n named) error {
	if i.verify == nil {
		return nil
	}
	i.progress.phase(phaseVerifying)
	return refused(i.verify(ctx, n.name, n.target.Digest.String()))
}

// unpack fetches the layers and unpacks each as soon as it and those below are
// there.
func (i *install) unpack(ctx context.Context, found *imageContent) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := i.store
	unpacker, err := unpack.NewUnpacker(ctx, s.blobs(),
		unpack.WithUnpackPlatform(unpack.Platform{
			SnapshotterKey: s.p.snapshotter,
			Snapshotter:    s.p.client.SnapshotService(s.p.snapshotter),
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

// link lets each document keep what it refers to from being collected.
func (i *install) link(ctx context.Context, found *imageContent) error {
	for n, desc := range found.path {
		children := images.HandlerFunc(func(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) {
			return found.children[n], nil
		})
		if _, err := images.SetChildrenLabels(i.store.blobs(), children)(ctx, desc); err != nil {
			return err
		}
	}
	return nil
}

// expectedDiffs says what each layer must unpack to.
func expectedDiffs(found *imageContent) map[digest.Digest][]digest.Digest {
	out := make(map[digest.Digest][]digest.Digest, len(found.diffIDs))
	for n, layer := range found.manifest.layers {
		out[layer.Digest] = append(out[layer.Digest], found.diffIDs[n])
	}
	return out
}

// applier reports on unpacking and gives its errors their kinds.
type applier struct {
	diffService
	layers   map[digest.Digest][]digest.Digest
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
	if !slices.Contains(a.layers[desc.Digest], out.Digest) {
		return out, malformed("layer %s unpacks to %s, which the configuration does not name", desc.Digest, out.Digest)
	}
	a.progress.layer(desc.Digest, phaseDone)
	return out, nil
}

// queue lets so many layers be fetched at once, the lower ones first, because
// those are unpacked first.
type queue struct {
	index map[digest.Digest]int
	open  []chan struct{}

	mu      sync.Mutex
	started int // how many of open are closed
	done    int
}

func newQueue(layers []ocispec.Descriptor, parallel int) *queue {
	q := &queue{index: make(map[digest.Digest]int, len(layers)), open: make([]chan struct{}, len(layers))}
	for n, layer := range layers {
		q.open[n] = make(chan struct{})
		if _, known := q.index[layer.Digest]; !known {
			q.index[layer.Digest] = n
		}
	}
	for range min(parallel, len(layers)) {
		q.next()
	}
	return q
}

func (q *queue) next() {
	if q.started < len(q.open) {
		close(q.open[q.started])
		q.started++
	}
}

// do calls f when it is the layer's turn. It returns true for what was the last.
func (q *queue) do(ctx context.Context, id digest.Digest, f func() error) (last bool, err error) {
	select {
	case <-q.open[q.index[id]]:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	err = f()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.next()
	q.done++
	return q.done == len(q.open), err
}

// pin puts content that is in the store under the context's lease. It is
// NotFound where it is not there.
func (s *imageStore) pin(ctx context.Context, desc ocispec.Descriptor) error {
	// First the lease, so that what is seen then stays.
	id, _ := leases.FromContext(ctx)
	err := s.p.client.LeasesService().AddResource(ctx, leases.Lease{ID: id}, leases.Resource{ID: desc.Digest.String(), Type: "content"})
	if err == nil {
		_, err = s.blobs().Info(ctx, desc.Digest)
	}
	return err
}
