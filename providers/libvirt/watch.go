//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"iter"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/watching"
	"github.com/univirt/univirt/resource"
)

var _ compute.Watcher = (*instance)(nil)

// Watch implements univirt.Provider. A cursor is known to the value that gave it,
// as long as the connection is not lost.
func (p *Provider) Watch(ctx context.Context, opts resource.WatchOptions) iter.Seq2[resource.Event, error] {
	return func(yield func(resource.Event, error) bool) {
		if left, err := p.watch(ctx, watching.Key{}, opts, yield); err != nil && !left {
			yield(resource.Event{}, resource.Fail("watch", p.ref("", "", ""), err))
		}
	}
}

// Watch implements compute.Watcher.
func (i *instance) Watch(ctx context.Context) iter.Seq2[resource.Event, error] {
	return func(yield func(resource.Event, error) bool) {
		only := watching.Key{Kind: resource.KindInstance, ID: i.id}
		if left, err := i.p.watch(ctx, only, resource.WatchOptions{}, yield); err != nil && !left {
			yield(resource.Event{}, i.fail("watch", err))
		}
	}
}

func (p *Provider) watch(ctx context.Context, only watching.Key, opts resource.WatchOptions, yield func(resource.Event, error) bool) (bool, error) {
	source := watching.Source{
		Refresh: func(ctx context.Context) error {
			ctx, done, err := p.begin(ctx)
			if err != nil {
				return err
			}
			defer done()
			if err := p.feed.refresh(ctx); err != nil {
				return err
			}
			return p.refreshRecords(ctx)
		},
		Closed: p.alive.Done(),
		Err:    errClosed,
		Only:   only,
	}
	return p.board.Range(ctx, source, opts, yield)
}
