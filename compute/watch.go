package compute

import (
	"context"
	"iter"

	"github.com/univirt/univirt/resource"
)

// Watcher is an instance whose changes are told. Every provider that has an
// event stream makes its instances Watchers; WaitFor asks again from time to
// time where one is not.
type Watcher interface {
	Instance
	// Watch yields the instance as Added, then Synced, then its changes, until
	// the instance is Deleted, the context is done or the loop is left. One that
	// is gone yields NotFound.
	Watch(ctx context.Context) iter.Seq2[resource.Event, error]
}
