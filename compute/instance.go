package compute

import (
	"context"
	"iter"
	"time"

	"github.com/univirt/univirt/resource"
)

// Instances are the instances of one provider and namespace.
type Instances interface {
	// Create makes an instance and leaves it Stopped. A name that exists is
	// AlreadyExists; faults of the spec are InvalidArgument, all at once, and come
	// before a field that the provider does not know, which is
	// errors.ErrUnsupported and named; an unknown image is NotFound unless the pull
	// policy brings it. The image's name is resolved once and its digest recorded.
	// A cancelled Create returns after its undo.
	Create(ctx context.Context, spec Spec) (Instance, error)
	// Get returns the instance of an ID or a name; NotFound if there is none.
	Get(ctx context.Context, idOrName string) (Instance, error)
	// Handle returns the instance of an ID without any call to the backend. If
	// there is no such instance, the handle's methods say NotFound.
	Handle(id string) Instance
	// List yields the instances that match, in no particular order. The number
	// of calls to the backend does not grow with the number of instances where
	// the backend reads in bulk. Each range starts anew; an error is yielded
	// once, last; breaking the loop releases everything.
	List(ctx context.Context, filter Filter) iter.Seq2[Info, error]
	// Stats yields the counters of the running instances that match.
	Stats(ctx context.Context, filter Filter) iter.Seq2[Stats, error]
}

// Instance is a handle on one instance, bound to its ID: after a delete and a
// create of the same name it says NotFound. A handle holds no connection and
// need not be closed.
//
// What each method does in each state is the table of [Transitions].
type Instance interface {
	// ID returns the instance's identity. It makes no call. Where the type has a method
	// Ref() resource.Ref too, which makes none either, errors of this package's functions
	// name the instance as that does.
	ID() string
	// Info reads the instance. One that is gone is NotFound.
	Info(ctx context.Context) (Info, error)
	// Start begins a run, or resumes from a suspension, and returns when the
	// instance is Running. Start of a running instance is nil. A command that
	// is not in the image, or a user that is unknown, is InvalidArgument and
	// names the field.
	Start(ctx context.Context, opts StartOptions) error
	// Stop ends the run: it asks with the stop signal, waits for the grace, then
	// forces. When it returns nil the instance is Stopped: its processes, its
	// network attachments and its ports are gone. Stop of a stopped instance is
	// nil. A context that ends during the grace leaves the instance Running or
	// Stopping.
	Stop(ctx context.Context, opts StopOptions) error
	// Wait returns the exit of a run, at once where it is over. Where the options
	// name no run, an instance that never ran is FailedPrecondition; a run that
	// is named and not known gives an Exit whose Known is false. A deleted
	// instance ends the wait with NotFound.
	Wait(ctx context.Context, opts WaitOptions) (Exit, error)
	// Update changes what can be changed of an instance. All faults are found
	// before the first effect.
	Update(ctx context.Context, change Change) error
	// Delete removes the instance and everything that belongs to it alone. A
	// running one is FailedPrecondition, unless forced. One that is gone is
	// NotFound.
	Delete(ctx context.Context, opts DeleteOptions) error
}

// StartOptions are the options of Start. The zero value starts.
type StartOptions struct {
	// IfRevision, if not empty, makes the call Aborted where the instance has
	// changed since.
	IfRevision string
}

// StopOptions are the options of Stop. The zero value asks with the spec's stop
// signal and waits for the spec's grace.
type StopOptions struct {
	// Signal replaces the spec's stop signal, such as "SIGTERM"; a provider of
	// virtual machines may have only the power button and ignore it.
	Signal string
	// Grace is how long to wait before forcing; 0 means the spec's, or ten
	// seconds where the spec has none. A Stop with less grace pre-empts one that
	// waits.
	Grace time.Duration
	// Force does not ask first.
	Force bool
	// IfRevision, if not empty, makes the call Aborted where the instance has
	// changed since.
	IfRevision string
}

// DefaultGrace is how long Stop waits where neither its options nor the spec
// say.
const DefaultGrace = 10 * time.Second

// DeleteOptions are the options of Delete. The zero value deletes a managed
// instance that does not run.
type DeleteOptions struct {
	// Force also deletes a running instance, whose run it ends without asking,
	// and one that this library did not make.
	Force bool
	// IfRevision, if not empty, makes the call Aborted where the instance has
	// changed since.
	IfRevision string
}

// Validate reports every fault of the options.
func (o StopOptions) Validate() resource.Faults {
	var faults resource.Faults
	if o.Grace < 0 {
		faults.Add("grace", "must not be negative")
	}
	faults.AddReason("signal", checkSignal(o.Signal))
	return faults
}
