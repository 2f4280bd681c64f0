//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// endLag is how much later than the end of a process a guest may say that nobody
// holds its output any more.
const endLag = 2 * time.Second

// execution is a process that an agent started.
type execution struct {
	a      qemuAgent
	id     string
	folder string
	pid    int64
	drain  time.Duration
	// early is how the process ended that did before it was asked for.
	early *statusReply
	// gone is closed when the process has ended or is lost, closed when nobody
	// holds its output any more, and done when that has been written.
	gone, closed, done chan struct{}
	// exit is set before gone is closed, but for Cut.
	exit compute.ExecExit
	cut  atomic.Bool
	// starved is why the process did not get all of its input.
	starved atomic.Pointer[error]
}

var _ compute.Execution = (*execution)(nil)

// ID implements compute.Execution.
func (e *execution) ID() string { return e.id }

func (e *execution) fail(op string, err error) error {
	return resource.Fail(op, e.a.p.ref(resource.KindInstance, "", e.a.id), err)
}

// Wait implements compute.Execution.
func (e *execution) Wait(ctx context.Context) (compute.ExecExit, error) {
	ctx, done, err := e.a.p.begin(ctx)
	if err != nil {
		return compute.ExecExit{}, e.fail("wait for execution", err)
	}
	defer done()
	select {
	case <-e.done:
		exit := e.exit
		exit.Cut = e.cut.Load()
		if why := e.starved.Load(); why != nil {
			err := resource.Errorf(errdefs.ErrUnavailable, "the process was ended, as its input did not arrive: %w", *why)
			err.Outcome = resource.OutcomeUnknown
			return exit, e.fail("wait for execution", err)
		}
		return exit, nil
	case <-ctx.Done():
		return compute.ExecExit{}, e.fail("wait for execution", ended(ctx))
	}
}

// Signal implements compute.Execution.
func (e *execution) Signal(ctx context.Context, signal string) error {
	ctx, done, err := e.a.p.begin(ctx)
	if err != nil {
		return e.fail("signal execution", err)
	}
	defer done()
	number, err := compute.ParseSignal(signal)
	if err == nil {
		err = e.kill(ctx, number)
	}
	return e.fail("signal execution", err)
}

func (e *execution) kill(ctx context.Context, number int) error {
	errGone := resource.Errorf(errdefs.ErrNotFound, "the process has ended")
	select {
	case <-e.gone:
		return errGone
	default:
	}
	exit, err := e.a.run(ctx, shell(`kill "-$1" "$2"`, strconv.Itoa(number), strconv.FormatInt(e.pid, 10)))
	if err == nil && exit.Code != 0 {
		err = errGone
	}
	return err
}

// Resize implements compute.Execution.
func (e *execution) Resize(ctx context.Context, _ compute.TerminalSize) error {
	_, done, err := e.a.p.begin(ctx)
	if err == nil {
		done()
		err = resource.Errorf(errdefs.ErrFailedPrecondition, "the process has no terminal")
	}
	return e.fail("resize execution", err)
}

// stream is output, and where it goes; nil where nobody wants it.
type stream struct {
	from handleReply
	to   io.Writer
}

// follow sees the process to its end, and its output. It waits for no Write of the
// caller's when the provider is closed.
func (e *execution) follow(began time.Time, streams []stream) {
	ctx := e.a.p.alive
	written := make(chan struct{})
	var writers sync.WaitGroup
	for _, s := range streams {
		if s.to != nil {
			writers.Go(func() { e.copy(ctx, s) })
		}
	}
	go func() { writers.Wait(); close(written) }()
	e.exit = e.await(ctx, began)
	close(e.gone)
	if ctx.Err() != nil {
		return // It is the guest's.
	}
	if e.exit.Known {
		e.awaitEnd(ctx, written)
	} else {
		close(e.closed)
	}
	select {
	case <-written:
	case <-ctx.Done():
		return
	}
	close(e.done)
	for _, s := range streams {
		_ = e.a.close(ctx, s.from)
	}
}

// lost reports whether an error says that the guest has no such process or file any
// more, or is not to be asked again. One that does not answer may yet.
func lost(err error) bool { return err != nil && !errors.Is(err, errdefs.ErrUnavailable) }

// await asks until the process has ended.
func (e *execution) await(ctx context.Context, began time.Time) compute.ExecExit {
	if e.early != nil {
		return e.early.exit()
	}
	for {
		status, err := e.a.status(ctx, e.pid)
		switch {
		case err == nil && status.Exited:
			return status.exit()
		case lost(err), pause(ctx, began, nil) != nil:
			return compute.ExecExit{}
		}
	}
}

// awaitEnd asks until nobody holds the output any more, or all has been written.
func (e *execution) awaitEnd(ctx context.Context, written <-chan struct{}) {
	defer close(e.closed)
	for since := time.Now(); ; {
		h, err := e.a.open(ctx, e.folder+"/end", "r")
		if err == nil {
			_ = e.a.close(ctx, h)
			return
		}
		if lost(err) && !errors.Is(err, errRefused) {
			return
		}
		select {
		case <-written:
			return
		default:
		}
		if pause(ctx, since, nil) != nil {
			return
		}
	}
}

// copy writes output to where it goes, until there will be no more. A writer that
// fails gets none.
func (e *execution) copy(ctx context.Context, s stream) {
	failed, gone := false, e.gone
	for last := time.Now(); ; {
		over := false
		select {
		case <-e.closed:
			over = true
		default:
		}
		data, err := e.a.read(ctx, s.from)
		switch {
		case lost(err):
			return
		case len(data) > 0:
			if !failed {
				_, err := s.to.Write(data)
				failed = err != nil
			}
			last = time.Now()
			continue
		case over && err == nil, over && !e.exit.Known:
			return
		case gone == nil && err == nil && time.Since(last) > e.drain:
			e.cut.Store(true)
			return
		}
		since := last
		if gone == nil {
			since = time.Now()
		}
		if pause(ctx, since, gone) != nil {
			return
		}
		select {
		case <-gone:
			// What it wrote last is still on its way.
			gone, last = nil, time.Now()
		default:
		}
	}
}
