package resource

import (
	"fmt"
	"slices"
	"time"
)

// EventType says what an event tells.
type EventType string

// The types of event. A watch yields what is there as Added, then Synced, then
// changes as they happen.
const (
	// EventAdded tells of a resource that is there.
	EventAdded EventType = "added"
	// EventChanged tells that a resource changed; Reason says by what.
	EventChanged EventType = "changed"
	// EventDeleted tells that a resource is gone.
	EventDeleted EventType = "deleted"
	// EventSynced tells that everything that was there has been told.
	EventSynced EventType = "synced"
	// EventGap tells that events may have been lost: what is there follows as
	// Added, what vanished as Deleted, then Synced.
	EventGap EventType = "gap"
	// EventDegraded tells that one side of a composite provider is lost; the
	// stream goes on with the others.
	EventDegraded EventType = "degraded"
	// EventRestored tells that it is back; its resources follow as after a gap.
	EventRestored EventType = "restored"
)

// Reasons of change that are the same for every provider. A reader treats a
// reason that it does not know as "changed".
const (
	ReasonCreate  = "create"
	ReasonStart   = "start"
	ReasonExit    = "exit"
	ReasonOOM     = "oom"
	ReasonPause   = "pause"
	ReasonResume  = "resume"
	ReasonSuspend = "suspend"
	ReasonReset   = "reset"
	ReasonUpdate  = "update"
	ReasonHealth  = "health"
	ReasonReady   = "ready"
	ReasonFail    = "fail"
)

// Cursor is a place in a stream of events. It is opaque, and of use only to
// the provider that gave it.
type Cursor string

// Event is one thing that happened.
type Event struct {
	// Type says what is told.
	Type EventType
	// Ref is the resource. It is zero for Synced and Gap, and has only the
	// provider for Degraded and Restored.
	Ref Ref
	// State is the resource's state after the event, in the words of its kind
	// (those of compute.State for instances), or empty.
	State string
	// Reason says what caused a change, see the Reason constants.
	Reason string
	// Labels are the resource's labels after the event. They are shared:
	// readers must not change them.
	Labels Labels
	// Time is when it happened, by the backend's clock where it says so.
	Time time.Time
	// Cursor continues a later watch right behind this event. It is empty where
	// the stream cannot be resumed here.
	Cursor Cursor
	// Err says why, for Gap and Degraded.
	Err error
}

// WatchOptions says what a watch yields. The zero value: everything managed in
// the namespace, from now on, after what is there.
type WatchOptions struct {
	// Kinds limits the stream to these kinds; empty means all.
	Kinds []Kind
	// Selector limits the stream to resources whose labels it matches. A
	// resource that stops matching is told as Deleted, one that begins to as
	// Added.
	Selector Selector
	// Names limits the stream to resources of these names; empty means all.
	Names []string
	// After continues behind an earlier event instead of beginning with what is
	// there. A cursor that the provider no longer knows gives a Gap.
	After Cursor
	// Buffer is how many events may wait for a slow reader before they are
	// replaced by a Gap; 0 means 1024.
	Buffer int
}

// DefaultWatchBuffer is the number of events that wait for a slow reader where
// WatchOptions does not say.
const DefaultWatchBuffer = 1024

// Validate reports every fault of the options.
func (o WatchOptions) Validate() Faults {
	var faults Faults
	if o.Buffer < 0 {
		faults.Add("buffer", "must not be negative")
	}
	for i, kind := range o.Kinds {
		if !slices.Contains(Kinds(), kind) {
			faults.Add(fmt.Sprintf("kinds[%d]", i), "is not a kind: %s", Quote(string(kind)))
		}
	}
	for i, name := range o.Names {
		if name == "" {
			faults.Add(fmt.Sprintf("names[%d]", i), "is empty")
		}
	}
	faults.Under("selector", o.Selector.Validate())
	return faults
}
