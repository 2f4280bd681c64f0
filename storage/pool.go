package storage

import (
	"context"
	"iter"

	"github.com/univirt/univirt/resource"
)

// Pool is a place that volumes are taken from.
type Pool struct {
	// Name names the pool in Spec.Pool.
	Name string
	// Type is the backend's word for what the pool is made of, such as "dir".
	Type string
	// Default is true for the pool that an empty Spec.Pool means.
	Default bool
	// Capacity, Allocated and Available are bytes; -1 where not known.
	Capacity, Allocated, Available int64
	// Path is the pool's place on the local host, if it has one.
	Path string
}

// PoolLister is a provider's Volumes that can say which pools there are.
type PoolLister interface {
	Volumes
	// Pools yields the pools. Each range starts anew; an error is yielded once,
	// last.
	Pools(ctx context.Context) iter.Seq2[Pool, error]
}

// Pools yields the pools behind volumes; errors.ErrUnsupported where the
// provider cannot say.
func Pools(ctx context.Context, volumes Volumes) iter.Seq2[Pool, error] {
	if p, ok := resource.As[PoolLister](volumes); ok {
		return p.Pools(ctx)
	}
	return func(yield func(Pool, error) bool) {
		yield(Pool{}, resource.Fail("list pools", resource.Ref{}, resource.Unsupported("pools", "")))
	}
}
