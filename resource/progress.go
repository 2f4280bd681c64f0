package resource

import "time"

// Progress is one report on a long operation: a pull, an import, a copy. The
// same struct serves all of them, so that one progress bar shows any.
type Progress struct {
	// Op is the operation, such as "pull".
	Op string
	// Ref is what it works on.
	Ref Ref
	// Phase is what it is doing now: "resolving", "downloading", "verifying",
	// "unpacking", "copying", "done". Readers show phases they do not know as
	// they are.
	Phase string
	// Done and Total count bytes over all items. Total is 0 while it is not
	// known, and may grow; Done never shrinks.
	Done, Total int64
	// Items are the parts of the operation, such as an image's layers, in a
	// fixed order. Empty where it has none.
	Items []ProgressItem
	// Time is when the report was made.
	Time time.Time
}

// ProgressItem is one part of a long operation.
type ProgressItem struct {
	// ID names the part, such as a layer's digest.
	ID string
	// Phase is what is being done with it; "waiting" before its turn, "exists"
	// where there was nothing to do.
	Phase string
	// Done and Total count its bytes. Total is 0 while it is not known.
	Done, Total int64
}

// ProgressFunc is called with reports, one at a time, at most about ten times
// a second and once at the end. It must not block for long: the operation may
// wait for it. It is never called after the operation has returned.
type ProgressFunc func(Progress)
