package compute

import (
	"context"
	"io"
)

// Attacher is an instance whose main process's streams can be joined.
type Attacher interface {
	Instance
	// Attach connects to the main process of the running instance: its output
	// from now on, and its input where the spec asked for it. The context bounds
	// the connection's making; the attachment lasts until it is closed or the run
	// ends, whichever is first. Several may be attached: each gets all output,
	// and input is mixed.
	Attach(ctx context.Context, opts AttachOptions) (Attachment, error)
}

// AttachOptions are the options of Attach.
type AttachOptions struct {
	// Stdin is written to the main process; nil attaches output only.
	// FailedPrecondition where the spec did not ask for input.
	Stdin io.Reader
	// Stdout and Stderr get the output; nil discards it. With a terminal
	// everything goes to Stdout.
	Stdout, Stderr io.Writer
	// Size is the terminal's size.
	Size TerminalSize
}

// Attachment is a connection to the main process.
type Attachment interface {
	// Wait returns when the run has ended and its output has been written, or the
	// attachment was closed.
	Wait(ctx context.Context) error
	// Resize sets the size of the main process's terminal; FailedPrecondition
	// where it has none.
	Resize(ctx context.Context, size TerminalSize) error
	// Close ends the attachment, and leaves the run alone. Closing twice is nil.
	Close() error
}

// Attach connects to an instance's main process; errors.ErrUnsupported where
// that cannot be.
func Attach(ctx context.Context, inst Instance, opts AttachOptions) (Attachment, error) {
	a, err := extension[Attacher](inst, OpAttach)
	if err != nil {
		return nil, err
	}
	return a.Attach(ctx, opts)
}
