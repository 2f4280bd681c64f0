//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"cmp"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// command is the argument of guest-exec.
type command struct {
	Path string `json:"path"`
	// Arg must not be null.
	Arg   []string `json:"arg"`
	Input []byte   `json:"input-data,omitempty"`
	// Capture has the answer at the end hold the output.
	Capture bool `json:"capture-output,omitempty"`
}

func shell(script string, args ...string) command {
	return command{Path: "/bin/sh", Arg: append([]string{"-c", script, "univirt"}, args...)}
}

func (a qemuAgent) spawn(ctx context.Context, c command) (pid int64, err error) {
	started, err := askFor[startedReply](ctx, a, "guest-exec", c)
	if errors.Is(err, errRefused) && resource.KindOf(err) == nil {
		return 0, resource.Errorf(errdefs.ErrFailedPrecondition, "the guest starts no %s: %w", c.Path, err)
	}
	return started.PID, err
}

func (a qemuAgent) status(ctx context.Context, pid int64) (statusReply, error) {
	return askFor[statusReply](ctx, a, "guest-exec-status", map[string]int64{"pid": pid})
}

// open opens a file of the guest. One that is not there is errRefused.
func (a qemuAgent) open(ctx context.Context, path, mode string) (handleReply, error) {
	return askFor[handleReply](ctx, a, "guest-file-open", map[string]string{"path": path, "mode": mode})
}

func (a qemuAgent) read(ctx context.Context, h handleReply) ([]byte, error) {
	got, err := askFor[readReply](ctx, a, "guest-file-read", map[string]int64{"handle": int64(h), "count": mostRead})
	return got.Data, err
}

func (a qemuAgent) close(ctx context.Context, h handleReply) error {
	_, err := askFor[nothing](ctx, a, "guest-file-close", map[string]int64{"handle": int64(h)})
	return err
}

// run runs a short script to its end.
func (a qemuAgent) run(ctx context.Context, c command) (compute.ExecExit, error) {
	status, err := a.finish(ctx, c)
	return status.exit(), err
}

// finish runs a command to its end.
func (a qemuAgent) finish(ctx context.Context, c command) (statusReply, error) {
	pid, err := a.spawn(ctx, c)
	if err != nil {
		return statusReply{}, err
	}
	for began := time.Now(); ; {
		status, err := a.status(ctx, pid)
		if err != nil || status.Exited {
			return status, err
		}
		if err := pause(ctx, began, nil); err != nil {
			return statusReply{}, err
		}
	}
}

// pause waits before an agent, which tells nothing by itself, is asked again: the
// shorter the fresher what it is asked for is. It ends early when wake is closed.
func pause(ctx context.Context, since time.Time, wake <-chan struct{}) error {
	timer := time.NewTimer(min(max(time.Since(since)/8, 4*time.Millisecond), 500*time.Millisecond))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-wake:
		return nil
	case <-ctx.Done():
		return ended(ctx)
	}
}

// exec implements guestAgent.
func (a qemuAgent) exec(ctx context.Context, spec compute.ExecSpec) (compute.Execution, error) {
	e := &execution{
		a: a, id: resource.NewID(),
		drain: cmp.Or(spec.Drain, compute.DefaultDrain) + endLag,
		gone:  make(chan struct{}), closed: make(chan struct{}), done: make(chan struct{}),
	}
	e.folder = "/tmp/.univirt-" + e.id
	flag := func(is bool) string { return strconv.Itoa(map[bool]int{true: 1}[is]) }
	args := []string{e.folder, flag(spec.Stdin != nil), flag(spec.Stdout != nil), flag(spec.Stderr != nil), cmp.Or(spec.Process.Dir, "/")}
	for _, name := range slices.Sorted(maps.Keys(spec.Process.Env)) {
		args = append(args, name+"="+spec.Process.Env[name])
	}
	args = append(append(append(args, "--"), spec.Process.Command...), spec.Process.Args...)
	var err error
	if e.pid, err = a.spawn(ctx, shell(launcher, args...)); err != nil {
		return nil, err
	}
	began := time.Now()
	streams, input, err := e.connect(ctx, began, spec)
	if err != nil {
		// What nobody can follow is of no use.
		a.tidy(ctx, func(ctx context.Context) { _ = e.kill(ctx, 9) })
		return nil, err
	}
	if spec.Stdin != nil {
		go e.feed(input, spec.Stdin)
	}
	go e.follow(began, streams)
	return e, nil
}

// tidy removes what is of no use any more from a guest. An agent that hangs is not
// waited for when the context has ended.
func (a qemuAgent) tidy(ctx context.Context, do func(context.Context)) {
	done := make(chan struct{})
	a.p.detached.Go(func() {
		defer close(done)
		clean, cancel := a.p.cleanup(ctx)
		defer cancel()
		do(clean)
	})
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// connect opens the ends of the program's streams when it is about to run.
func (e *execution) connect(ctx context.Context, began time.Time, spec compute.ExecSpec) (streams []stream, input handleReply, err error) {
	out, err := e.begun(ctx, began, spec)
	if err != nil {
		return nil, 0, err
	}
	streams = []stream{{out, spec.Stdout}}
	if spec.Stderr != nil {
		h, err := e.a.open(ctx, e.folder+"/err", "r")
		if err != nil {
			return nil, 0, err
		}
		streams = append(streams, stream{h, spec.Stderr})
	}
	if spec.Stdin != nil {
		// Opened for both, so that it blocks no agent.
		input, err = e.a.open(ctx, e.folder+"/0", "r+")
	}
	return streams, input, err
}

// begun waits until the program is about to run, and returns its output.
func (e *execution) begun(ctx context.Context, began time.Time, spec compute.ExecSpec) (handleReply, error) {
	for {
		out, err := e.a.open(ctx, e.folder+"/out", "r")
		if err == nil || !errors.Is(err, errRefused) {
			return out, err
		}
		status, err := e.a.status(ctx, e.pid)
		if err != nil {
			return 0, err
		}
		if status.Exited {
			// It may have ended since.
			if out, err := e.a.open(ctx, e.folder+"/out", "r"); err == nil {
				e.early = &status
				return out, nil
			}
			return 0, notStarted(status.exit(), spec)
		}
		if err := pause(ctx, began, nil); err != nil {
			return 0, err
		}
	}
}

// mostInput is how much goes into one command, which are no longer than mostCommand.
const mostInput = mostCommand / 4 * 3

// feed carries input into the guest, each piece by a process that the guest's pipe
// holds up. A Read may block for ever: nobody waits for this.
func (e *execution) feed(h handleReply, from io.Reader) {
	ctx := e.a.p.alive
	buffer := make([]byte, mostInput)
	for over := false; !over; {
		n, err := from.Read(buffer)
		select {
		case <-e.gone:
			over = true
			continue
		default:
		}
		if n > 0 {
			c := shell(`exec cat >"$1"`, e.folder+"/0")
			c.Input = buffer[:n]
			// What is held up by a process that has ended goes when the pipe does.
			fed := make(chan error, 1)
			go func() { _, err := e.a.run(ctx, c); fed <- err }()
			select {
			case failed := <-fed:
				if failed != nil {
					e.starve(ctx, failed)
					return
				}
			case <-e.gone:
			}
		}
		over = err != nil
	}
	e.insist(ctx, func() error { return e.a.close(ctx, h) })
}

// starve ends a process of whose input a piece may not have arrived: what it makes of the
// rest would be something else.
func (e *execution) starve(ctx context.Context, why error) {
	e.starved.Store(&why)
	e.insist(ctx, func() error { return e.kill(ctx, 9) })
}

// insist does something to the process until the guest has said yes or no, or the process
// has ended.
func (e *execution) insist(ctx context.Context, do func() error) {
	for began := time.Now(); ; {
		if err := do(); err == nil || lost(err) {
			return
		}
		select {
		case <-e.gone:
			return
		default:
		}
		if pause(ctx, began, e.gone) != nil {
			return
		}
	}
}
