package fake

import (
	"context"
	"iter"
	"maps"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// pool is a place that volumes are taken from.
type pool struct {
	backend *Backend
	name    string
	quota   quota
}

// defaultPool is the pool's name where the options have none.
const defaultPool = "default"

// initPools makes the pools that the options say.
func (b *Backend) initPools() {
	sizes := b.opts.Pools
	if len(sizes) == 0 {
		sizes = map[string]int64{defaultPool: 0}
	}
	for _, name := range slices.Sorted(maps.Keys(sizes)) {
		p := &pool{backend: b, name: name}
		p.quota.from = &b.used.disk
		p.quota.limit.Store(sizes[name])
		b.pools = append(b.pools, p)
	}
}

// pool finds a pool; the empty name is the one called "default", or else the first
// by name.
func (b *Backend) pool(name string) (*pool, error) {
	for _, p := range b.pools {
		if p.name == name || name == "" && p.name == defaultPool {
			return p, nil
		}
	}
	if name == "" {
		return b.pools[0], nil
	}
	return nil, fieldError("pool", errdefs.ErrNotFound, "there is no pool %s", resource.Quote(name))
}

func (p *pool) full(field string) error {
	return fieldError(field, errdefs.ErrResourceExhausted, "the pool %q has %s left", p.name, resource.FormatSize(p.quota.room()))
}

// info tells what is known of the pool.
func (p *pool) info() storage.Pool {
	first, _ := p.backend.pool("")
	out := storage.Pool{
		Name: p.name, Type: "memory", Default: p == first,
		Capacity: p.quota.limit.Load(), Allocated: p.quota.used.Load(), Available: p.quota.room(),
	}
	disk := p.backend.used.disk.limit.Load()
	if out.Capacity == 0 || disk > 0 && disk < out.Capacity {
		out.Capacity = disk
	}
	if out.Capacity == 0 {
		out.Capacity, out.Available = -1, -1
	}
	return out
}

var _ storage.PoolLister = volumes{}

// Pools yields the pools, by name.
func (s volumes) Pools(ctx context.Context) iter.Seq2[storage.Pool, error] {
	return func(yield func(storage.Pool, error) bool) {
		ref := resource.Ref{Provider: Scheme, Namespace: s.p.space.name}
		err := s.p.offered(ctx, OpListPools)
		var late call
		if err == nil {
			late, err = s.p.reach(ctx, OpListPools, target{ref: ref})
		}
		if err == nil {
			for _, p := range s.p.backend.pools {
				if err = s.p.open(ctx); err != nil {
					break
				}
				if !yield(p.info(), nil) {
					return
				}
			}
		}
		if err = late.done(err); err != nil {
			yield(storage.Pool{}, s.fail(OpListPools, ref, err))
		}
	}
}
