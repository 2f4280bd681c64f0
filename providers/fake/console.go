package fake

import (
	"context"
	"io"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

var _ compute.Consoler = (*handle)(nil)

// Console connects to a virtual machine's console: its main program's output from
// now on, and its input where the spec asked for one.
func (h *handle) Console(ctx context.Context, opts compute.ConsoleOptions) (io.ReadWriteCloser, error) {
	var c *console
	err := h.use(ctx, OpConsole, compute.OpAttach, func(i *instance) error {
		if err := h.p.lively(ctx, i, compute.OpAttach); err != nil {
			return err
		}
		r := i.run
		switch {
		case r.console != nil && !opts.TakeOver:
			return resource.Errorf(errdefs.ErrFailedPrecondition, "the console is in use")
		case r.console != nil:
			r.console.end()
		}
		both := newPipe(0, 1)
		c = &console{p: h.p, run: r, journal: i.journalOf(), out: both, tap: tap{out: both}, closed: make(chan struct{})}
		c.tap.err = both
		both.join()
		c.journal.tap(r, &c.tap)
		r.active().console = c
		ended := r.ended()
		h.p.backend.crew.run(func() {
			select {
			case <-ended:
			case <-c.closed:
			case <-h.p.over:
				_ = c.Close()
			}
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// console is a connection to a console.
type console struct {
	p       *Provider
	run     *run
	journal *journal
	out     *pipe
	tap     tap
	closed  chan struct{}
	once    sync.Once
}

// Read reads output, until the connection or the run has ended.
func (c *console) Read(b []byte) (int, error) { return c.out.read(b, c.closed) }

// Write types into the console. Where nothing reads it is lost, as keystrokes are.
func (c *console) Write(b []byte) (int, error) {
	select {
	case <-c.closed:
		return 0, io.ErrClosedPipe
	default:
	}
	c.p.backend.mu.Lock()
	in := c.run.stdin
	c.p.backend.mu.Unlock()
	if in == nil {
		return len(b), nil
	}
	return in.write(b, c.closed)
}

// Close ends the connection.
func (c *console) Close() error {
	c.p.backend.mu.Lock()
	defer c.p.backend.mu.Unlock()
	if c.run.console == c {
		c.run.console = nil
	}
	c.end()
	return nil
}

// end is Close where the backend is locked.
func (c *console) end() {
	c.once.Do(func() {
		close(c.closed)
		c.journal.untap(c.run, &c.tap)
	})
}
