package fake

import (
	"context"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

var (
	_ compute.Execer    = (*handle)(nil)
	_ compute.Execution = (*execution)(nil)
)

// Exec starts a program in the running instance.
func (h *handle) Exec(ctx context.Context, spec compute.ExecSpec) (compute.Execution, error) {
	if err := h.p.open(ctx); err != nil {
		return nil, h.fail(OpExec, err)
	}
	if err := spec.Validate().Err(); err != nil {
		return nil, h.fail(OpExec, err)
	}
	var e *execution
	err := h.use(ctx, OpExec, compute.OpExec, func(i *instance) error {
		if err := h.p.lively(ctx, i, compute.OpExec); err != nil {
			return err
		}
		has := i.features()
		if err := firstOf(
			without(has, compute.FeatureExecTTY, "process.tty", spec.Process.TTY),
			without(has, compute.FeatureExecUser, "process.user", spec.Process.User != ""),
			without(has, compute.FeatureExecStdin, "stdin", spec.Stdin != nil),
		); err != nil {
			return err
		}
		r, err := i.alive()
		if err != nil {
			return err
		}
		c, err := h.p.backend.commandOf(i.image, spec.Process, &i.spec.Process)
		if err != nil {
			return err
		}
		e, err = h.p.execute(r, c, spec)
		return err
	})
	if err != nil {
		return nil, err
	}
	return e, nil
}

// execution is a process that Exec started.
type execution struct {
	p       *Provider
	process *Process
	id      string
	// done is closed when the process has ended and its output is drained.
	done chan struct{}
	// exit is set before done is closed.
	exit compute.ExecExit
}

// execute starts a process of a run with the streams of an exec. The backend is
// locked.
func (p *Provider) execute(r *run, c command, spec compute.ExecSpec) (*execution, error) {
	b := p.backend
	var s streams
	var outputs []*pipe
	output := func(w io.Writer) sink {
		if w == nil {
			return nil
		}
		o := newPipe(pipeSize, 0)
		outputs = append(outputs, o)
		return o
	}
	s.out = output(spec.Stdout)
	writers := []io.Writer{spec.Stdout, spec.Stderr}
	if spec.Process.TTY || !r.instance.features().Has(compute.FeatureExecSplit) {
		s.err, writers = s.out, writers[:1]
	} else {
		s.err = output(spec.Stderr)
	}
	if spec.Stdin != nil {
		s.in = newPipe(pipeSize, 1)
	}
	process, err := r.spawn(c, s, spec.Process.TTY, spec.Size)
	if err != nil {
		return nil, err
	}
	e := &execution{p: p, process: process, id: r.exit.Run + "." + strconv.Itoa(process.PID), done: make(chan struct{})}
	d := &drain{patience: spec.Drain, outputs: outputs, moved: make(chan struct{}, 1), written: make(chan struct{})}
	if d.patience == 0 {
		d.patience = compute.DefaultDrain
	}
	var copies sync.WaitGroup
	next := 0
	for _, w := range writers {
		if w == nil {
			continue
		}
		from := outputs[next]
		next++
		copies.Add(1)
		p.writing(func() {
			defer copies.Done()
			_ = from.copyTo(w, nil, d.note)
		})
	}
	endInput := func() {}
	if spec.Stdin != nil {
		endInput = sync.OnceFunc(s.in.leave)
		// A Read may block for ever, so nobody waits for this one.
		go func() {
			_ = s.in.copyFrom(spec.Stdin, process.over)
			endInput()
		}()
	}
	if len(outputs) == 0 {
		close(d.written)
	} else {
		p.writing(func() {
			copies.Wait()
			close(d.written)
		})
	}
	p.writing(func() {
		cut, closed := false, false
		select {
		case <-process.over:
			cut, closed = d.wait(p.over)
		case <-p.over:
			closed = true
		}
		for _, o := range outputs {
			o.breakOff()
		}
		if closed {
			// The value's end of the streams is gone; the process is the instance's.
			endInput()
			return
		}
		b.mu.Lock()
		e.exit = compute.ExecExit{Known: true, Code: process.code, Cut: cut}
		if process.fatal != 0 {
			e.exit.Signal = signalNames[process.fatal]
		}
		b.mu.Unlock()
		close(e.done)
	})
	return e, nil
}

// drain waits for output that is still to come when a process has ended.
type drain struct {
	patience time.Duration
	outputs  []*pipe
	// moved has room for one; it tells that something was written. written is
	// closed when everything was.
	moved   chan struct{}
	written chan struct{}
}

func (d *drain) note() {
	select {
	case d.moved <- struct{}{}:
	default:
	}
}

// wait waits until everything was written. Outputs that stay silent for as long as
// the patience lasts are cut off; a slow Write of the caller's is not silence, and
// none is under way any more when wait returns, but where over was closed.
func (d *drain) wait(over <-chan struct{}) (cut, closed bool) {
	t := time.NewTimer(d.patience)
	defer t.Stop()
	for {
		select {
		case <-d.written:
			return cut, false
		case <-d.moved:
			t.Reset(d.patience)
		case <-over:
			return cut, true
		case <-t.C:
			for _, o := range d.outputs {
				// What is busy is asked again when it has moved.
				cut = o.giveUp() || cut
			}
		}
	}
}

// ID identifies the execution within its instance.
func (e *execution) ID() string { return e.id }

func (e *execution) fail(op Op, err error) error {
	return resource.Fail(op.verb(), e.process.Instance, err)
}

// with is the frame of what is done with the process: it passes on to the backend
// and calls act with the backend locked.
func (e *execution) with(ctx context.Context, op Op, act func(p *Process) error) error {
	c, err := e.p.reachRun(ctx, op, e.process.run)
	if err == nil {
		err = e.p.backend.offers.refuses(op, e.process.run.instance.spec.Kind)
	}
	if err == nil {
		e.p.backend.mu.Lock()
		err = act(e.process)
		e.p.backend.mu.Unlock()
	}
	return e.fail(op, c.done(err))
}

// Wait returns how the process ended.
func (e *execution) Wait(ctx context.Context) (compute.ExecExit, error) {
	c, err := e.p.reachRun(ctx, OpWaitExecution, e.process.run)
	if err == nil {
		select {
		case <-e.done:
		case <-ctx.Done():
			err = ctx.Err()
		case <-e.p.over:
			err = errClosed
		}
	}
	if err := c.done(err); err != nil {
		return compute.ExecExit{}, e.fail(OpWaitExecution, err)
	}
	return e.exit, nil
}

// Signal sends a signal.
func (e *execution) Signal(ctx context.Context, signal string) error {
	return e.with(ctx, OpSignalExecution, func(p *Process) error {
		number, err := compute.ParseSignal(signal)
		if err != nil {
			return err
		}
		return p.signal(number)
	})
}

// Resize sets the size of the process's terminal.
func (e *execution) Resize(ctx context.Context, size compute.TerminalSize) error {
	return e.with(ctx, OpResizeExecution, func(p *Process) error {
		switch {
		case !p.TTY:
			return resource.Errorf(errdefs.ErrFailedPrecondition, "the process has no terminal")
		case p.ended:
			return errEnded
		}
		p.resize(size)
		return nil
	})
}
