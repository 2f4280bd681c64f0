package resource

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
)

// ErrClosed is the kind of every error that a provider's methods return after
// its Close.
var ErrClosed = errors.New("provider is closed")

// Outcome says what became of an operation that returned an error.
type Outcome int

// The outcomes. The zero value is NotDone: what was asked for did not happen.
const (
	// NotDone means that nothing was changed, or that what was changed has
	// been undone.
	NotDone Outcome = iota
	// Done means that the operation took effect although it returned an error,
	// for example because only its clean-up failed.
	Done
	// OutcomeUnknown means that the backend was lost, or the context ended, in the
	// middle: the provider reconciles by identity when it can, and the caller should
	// read the resource again.
	OutcomeUnknown
)

// String returns "not done", "done" or "unknown".
func (o Outcome) String() string {
	switch o {
	case NotDone:
		return "not done"
	case Done:
		return "done"
	}
	return "unknown"
}

// Error is the one error type of the API. Every method of every provider
// returns its errors as *Error, but for those of a context, which it may also
// return bare.
//
// Test for a kind with [errors.Is] or the Is functions of
// [github.com/containerd/errdefs], and take the details with [errors.As].
type Error struct {
	// Op is the operation in one word, such as "start".
	Op string
	// Ref is what the operation acted on, as far as it is known.
	Ref Ref
	// Kind is one of the sentinels NotFound, AlreadyExists, InvalidArgument,
	// FailedPrecondition, Aborted, ResourceExhausted, Unavailable,
	// PermissionDenied, Unauthenticated, DataLoss and Internal of errdefs,
	// errors.ErrUnsupported or ErrClosed. It is nil where Err is a context's
	// error, and where the backend gave no better word than "failed".
	Kind error
	// Field is the path of the field at fault in what the caller passed, such
	// as "resources.memory"; empty where no field is. Where several are, Err
	// is Faults and Field is the first one's path.
	Field string
	// Err is the cause.
	Err error
	// Outcome says whether the operation took effect all the same.
	Outcome Outcome
	// Left lists what a failed operation could not undo. Sweep takes it up.
	Left []Ref
	// Logs are the last lines of output of an instance that ended while it was
	// being waited for.
	Logs []string
}

// Error returns a message of the form
//
//	start instance "web": cause
//
// with the field at fault, what was left behind and the last lines of output
// behind it. What is NotFound is as often somewhere else, so then it says where it was
// looked for:
//
//	get instance "web" in namespace "default": no such instance
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if label := e.Ref.Label(); label != "" {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(label)
	}
	var inner *Error
	nested := errors.As(e.Err, &inner)
	if b.Len() > 0 {
		if e.Kind == errdefs.ErrNotFound && e.Ref.Namespace != "" && !nested {
			b.WriteString(" in namespace ")
			b.WriteString(Quote(e.Ref.Namespace))
		}
		b.WriteString(": ")
	}
	if nested {
		// The details stand in the message of the error that first knew them.
		b.WriteString(e.Err.Error())
		return b.String()
	}
	if e.Field != "" && FaultsOf(e.Err) == nil {
		b.WriteString(e.Field)
		b.WriteString(": ")
	}
	switch {
	case e.Err != nil:
		b.WriteString(e.Err.Error())
	case e.Kind != nil:
		b.WriteString(e.Kind.Error())
	default:
		b.WriteString("failed")
	}
	if e.Outcome == OutcomeUnknown {
		b.WriteString(" (outcome unknown)")
	}
	if len(e.Left) > 0 {
		b.WriteString("; left behind:")
		for _, ref := range e.Left {
			b.WriteByte(' ')
			b.WriteString(ref.String())
		}
	}
	if len(e.Logs) > 0 {
		b.WriteString("; last output:")
		for _, line := range e.Logs {
			b.WriteString("\n\t")
			b.WriteString(Quote(line))
		}
	}
	return b.String()
}

// Unwrap gives errors.Is and errors.As both the kind and the cause.
func (e *Error) Unwrap() []error {
	switch {
	case e.Kind == nil && e.Err == nil:
		return nil
	case e.Kind == nil:
		return []error{e.Err}
	case e.Err == nil:
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// Fail makes the *Error of one operation on one resource, or returns nil where
// err is nil.
//
// Where err is an *Error without an operation, as [Errorf] makes them, it is
// completed. Where it wraps any other *Error, what a program may ask of that
// one (kind, field, outcome, leftovers, logs) is taken over, and the message
// names both operations. Else the kind is the sentinel that err carries, see
// [KindOf].
func Fail(op string, ref Ref, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := err.(*Error); ok && e.Op == "" {
		out := *e
		out.Op, out.Ref = op, ref
		return &out
	}
	out := &Error{Op: op, Ref: ref, Err: err}
	var inner *Error
	if errors.As(err, &inner) {
		out.Kind, out.Field, out.Outcome = inner.Kind, inner.Field, inner.Outcome
		out.Left, out.Logs = inner.Left, inner.Logs
		return out
	}
	out.Kind = KindOf(err)
	if faults := FaultsOf(err); len(faults) > 0 {
		out.Field = faults[0].Field
	}
	return out
}

// Errorf makes an *Error of the kind given, with a formatted cause and without
// operation and resource: the layer that knows them adds them by [Fail].
func Errorf(kind error, format string, args ...any) *Error {
	return &Error{Kind: kind, Err: fmt.Errorf(format, args...)}
}

// Unsupported makes the error that says that a provider never does what was
// asked, and why.
func Unsupported(what, reason string) *Error {
	if reason == "" {
		return &Error{Kind: errors.ErrUnsupported, Err: errors.New(what + " is not supported")}
	}
	return &Error{Kind: errors.ErrUnsupported, Err: errors.New(what + " is not supported: " + reason)}
}

// kinds lists the sentinels in the order in which they are looked for.
var kinds = []error{
	errdefs.ErrNotFound,
	errdefs.ErrAlreadyExists,
	errdefs.ErrInvalidArgument,
	errdefs.ErrFailedPrecondition,
	errdefs.ErrAborted,
	errdefs.ErrResourceExhausted,
	errdefs.ErrUnavailable,
	errdefs.ErrPermissionDenied,
	errdefs.ErrUnauthenticated,
	errdefs.ErrDataLoss,
	errdefs.ErrInternal,
	errors.ErrUnsupported,
	ErrClosed,
}

// KindOf returns the sentinel that err carries, or nil where it is a context's
// error or carries none.
func KindOf(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	var e *Error
	if errors.As(err, &e) && e.Kind != nil {
		return e.Kind
	}
	for _, kind := range kinds {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return nil
}

// Retryable reports whether the same call may succeed later without anything
// being changed: its kind is Unavailable or Aborted.
func Retryable(err error) bool {
	return errors.Is(err, errdefs.ErrUnavailable) || errors.Is(err, errdefs.ErrAborted)
}
