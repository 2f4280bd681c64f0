package containerd

import (
	"context"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// parallelDownloads bounds the layers of one image that are fetched at once.
const parallelDownloads = 6

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
