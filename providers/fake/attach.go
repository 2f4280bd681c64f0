package fake

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// tap gets a main process's output as it is written, from its making on. Its
// pipes have no bound: output never waits for whoever is attached.
type tap struct{ out, err *pipe }

func (t *tap) offer(stream compute.Stream, b []byte) {
	to := t.out
	if stream == compute.Stderr {
		to = t.err
	}
	if to != nil {
		_, _ = to.write(b, nil)
	}
}

func (t *tap) finish() {
	for _, p := range []*pipe{t.out, t.err} {
		if p != nil {
			p.leave()
		}
	}
}

// tap puts a tap on a run's output.
func (j *journal) tap(r *run, t *tap) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.taps == nil {
		j.taps = make(map[*run][]*tap)
	}
	j.taps[r] = append(j.taps[r], t)
}

// untap takes it away.
func (j *journal) untap(r *run, t *tap) {
	j.mu.Lock()
	defer j.mu.Unlock()
	taps := j.taps[r]
	for n, other := range taps {
		if other == t {
			j.taps[r] = append(taps[:n:n], taps[n+1:]...)
			t.finish()
			return
		}
	}
}

var (
	_ compute.Attacher   = (*handle)(nil)
	_ compute.Attachment = (*attachment)(nil)
)

// Attach joins the main process's streams. The end of opts.Stdin ends its being
// copied, not the process's input, which others may be attached to.
func (h *handle) Attach(ctx context.Context, opts compute.AttachOptions) (compute.Attachment, error) {
	a := &attachment{p: h.p, done: make(chan struct{}), closed: make(chan struct{})}
	err := h.use(ctx, OpAttach, compute.OpAttach, func(i *instance) error {
		if err := h.p.lively(ctx, i, compute.OpAttach); err != nil {
			return err
		}
		r := i.run
		tty := i.spec.Process.TTY
		if err := without(i.features(), compute.FeatureAttachStdin, "stdin", opts.Stdin != nil); err != nil {
			return err
		}
		switch {
		case opts.Stdin != nil && r.stdin == nil:
			return &resource.Error{Kind: errdefs.ErrFailedPrecondition, Field: "stdin",
				Err: errors.New("the instance's spec did not ask for input")}
		case opts.Size != (compute.TerminalSize{}) && !tty:
			return resource.Faults{{Field: "size", Reason: "needs process.tty"}}
		}
		a.run, a.journal, a.ref = r, i.journalOf(), i.ref()
		if opts.Stdout != nil {
			a.tap.out = newPipe(0, 1)
		}
		if opts.Stderr != nil && !tty {
			a.tap.err = newPipe(0, 1)
		}
		a.journal.tap(r, &a.tap)
		if opts.Size != (compute.TerminalSize{}) && r.main != nil {
			r.main.resize(opts.Size)
		}
		a.start(opts)
		return nil
	})
	if err != nil {
		if a.run != nil {
			_ = a.Close()
		}
		return nil, err
	}
	return a, nil
}

// attachment is a connection to a main process.
type attachment struct {
	p       *Provider
	run     *run
	ref     resource.Ref
	journal *journal
	tap     tap
	// done is closed when the output has been written; closed by Close.
	done, closed chan struct{}
	once         sync.Once

	mu  sync.Mutex
	err error
}

func (a *attachment) start(opts compute.AttachOptions) {
	var copies sync.WaitGroup
	for _, s := range []struct {
		from *pipe
		to   io.Writer
	}{{a.tap.out, opts.Stdout}, {a.tap.err, opts.Stderr}} {
		if s.from == nil {
			continue
		}
		copies.Add(1)
		a.p.writing(func() {
			defer copies.Done()
			if err := s.from.copyTo(s.to, a.closed, nil); err != nil {
				a.mu.Lock()
				a.err = err
				a.mu.Unlock()
			}
		})
	}
	ended := a.run.ended()
	a.p.writing(func() {
		select {
		case <-ended:
			copies.Wait()
		case <-a.closed:
		case <-a.p.over:
			_ = a.Close()
		}
		close(a.done)
	})
	if opts.Stdin != nil {
		in := a.run.stdin
		// A Read may block for ever, so nobody waits for this one.
		go func() { _ = in.copyFrom(opts.Stdin, a.closed) }()
	}
}

// Wait returns when the run has ended and its output has been written, or the
// attachment was closed.
func (a *attachment) Wait(ctx context.Context) error {
	c, err := a.p.reachRun(ctx, OpWaitAttachment, a.run)
	if err == nil {
		select {
		case <-a.done:
			// Closing the value ends the attachment too.
			if err = a.p.open(ctx); err == nil {
				a.mu.Lock()
				err = a.err
				a.mu.Unlock()
			}
		case <-ctx.Done():
			err = ctx.Err()
		case <-a.p.over:
			err = errClosed
		}
	}
	return resource.Fail(OpWaitAttachment.verb(), a.ref, c.done(err))
}

// Resize sets the size of the main process's terminal.
func (a *attachment) Resize(ctx context.Context, size compute.TerminalSize) error {
	c, err := a.p.reachRun(ctx, OpResizeAttachment, a.run)
	if err == nil {
		err = a.resize(size)
	}
	return resource.Fail(OpResizeAttachment.verb(), a.ref, c.done(err))
}

func (a *attachment) resize(size compute.TerminalSize) error {
	b := a.p.backend
	b.mu.Lock()
	defer b.mu.Unlock()
	switch i := a.run.instance; {
	case !i.spec.Process.TTY:
		return resource.Errorf(errdefs.ErrFailedPrecondition, "the main process has no terminal")
	case a.run.over:
		return errEnded
	case a.run.main != nil:
		a.run.main.resize(size)
	}
	return nil
}

// Close ends the attachment.
func (a *attachment) Close() error {
	a.once.Do(func() {
		close(a.closed)
		a.journal.untap(a.run, &a.tap)
	})
	return nil
}

// resize sets the size of a process's terminal and tells it. The backend is
// locked.
func (p *Process) resize(size compute.TerminalSize) {
	p.size = size
	_ = p.signal(sigWinch)
}
