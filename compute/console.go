package compute

import (
	"context"
	"io"
)

// Consoler is a virtual machine with a serial console.
type Consoler interface {
	Instance
	// Console connects to the console of the running instance. One connection at
	// a time: a second is FailedPrecondition, unless the options take over.
	// Closing it leaves the run alone; it ends with the run.
	Console(ctx context.Context, opts ConsoleOptions) (io.ReadWriteCloser, error)
}

// ConsoleOptions are the options of Console.
type ConsoleOptions struct {
	// TakeOver ends another connection instead of failing.
	TakeOver bool
}

// Console connects to an instance's console; errors.ErrUnsupported where it has
// none.
func Console(ctx context.Context, inst Instance, opts ConsoleOptions) (io.ReadWriteCloser, error) {
	c, err := extension[Consoler](inst, "console")
	if err != nil {
		return nil, err
	}
	return c.Console(ctx, opts)
}
