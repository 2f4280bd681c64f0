package univirt

import (
	"context"
	"iter"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// Provider makes instances, images, volumes and networks real: as virtual
// machines, as containers, or in memory. A Provider value sees one namespace,
// fixed when it was opened.
//
// What it made is found again by any other Provider value on the same backend,
// in this process or another: truth lives with the resources. A value reads its
// own writes.
//
// All methods may be called concurrently. After Close every method of the
// provider and of its handles returns an error of the kind resource.ErrClosed.
type Provider interface {
	// Instances, Images, Volumes and Networks never return nil: a kind that the
	// provider has not answers errors.ErrUnsupported.
	Instances() compute.Instances
	Images() compute.Images
	Volumes() storage.Volumes
	Networks() network.Networks
	// Watch yields what is there as Added, then Synced, then changes, in order
	// for each resource. Calling it does nothing; each range starts anew. After a
	// lost connection, an unknown cursor or a slow reader it yields a Gap, what is
	// there, Deleted for what vanished, and Synced. What is gone before it could be
	// looked at may be left out. It ends with its context, whose error is yielded
	// last, or when the provider is closed.
	Watch(ctx context.Context, opts resource.WatchOptions) iter.Seq2[resource.Event, error]
	// Describe says what the provider is, how it is, and what it can do.
	Describe(ctx context.Context) (Description, error)
	// Close ends what the value does on its own: streams, supervision, reconciling.
	// Ephemeral resources that it made are deleted; others stay. What cannot be deleted
	// in about compute.CleanupTimeout the error names, and a sweep takes. Closing twice is
	// nil. It waits for no code of the caller's, so it may be called from within the
	// body of a loop, a hook or a report of progress.
	Close() error
}
