package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/outlive"
	"github.com/univirt/univirt/resource"
)

var (
	_ compute.Execer    = (*instance)(nil)
	_ compute.Execution = (*execution)(nil)
)

// execution is a process besides the main one. A goroutine waits for its end and
// releases what it holds.
type execution struct {
	inst *instance
	id   string
	tty  bool
	io   *execIO

	// over is closed when the process has ended and its output is drained; the
	// fields behind it are set then.
	over chan struct{}
	exit compute.ExecExit
	err  error
}

// Exec implements compute.Execer. It makes three calls until the process runs and
// two until it is gone.
func (i *instance) Exec(ctx context.Context, spec compute.ExecSpec) (compute.Execution, error) {
	ctx, done, err := i.p.begin(ctx)
	if err != nil {
		return nil, i.fail("exec", err)
	}
	defer done()
	if err := spec.Validate().Err(); err != nil {
		return nil, i.fail("exec", err)
	}
	if spec.Process.Stdin && spec.Stdin == nil {
		// The field is for what is attached to later, which an exec cannot be.
		return nil, i.fail("exec", &resource.Error{Kind: errors.ErrUnsupported, Field: "process.stdin", Err: errors.New("an execution's input is given at its start")})
	}
	ctx = outlive.WithEffects(ctx)
	e, err := i.exec(ctx, spec)
	if err != nil {
		return nil, i.fail("exec", outlive.EffectsOf(ctx).Sure(err))
	}
	return e, nil
}

func (i *instance) exec(ctx context.Context, spec compute.ExecSpec) (*execution, error) {
	k, err := i.load(ctx)
	if err == nil {
		err = k.owned()
	}
	if err != nil {
		return nil, err
	}
	process, err := i.process(ctx, k.container, spec)
	if err != nil {
		return nil, err
	}
	encoded, err := typeurl.MarshalAny(process)
	if err != nil {
		return nil, err
	}
	e := &execution{inst: i, id: "exec-" + resource.NewID(), tty: spec.Process.TTY, over: make(chan struct{})}
	if e.io, err = i.p.openExecIO(e.id, spec); err != nil {
		return nil, fmt.Errorf("the streams of the execution: %w", err)
	}
	request := &tasksapi.ExecProcessRequest{
		ContainerID: i.id,
		ExecID:      e.id,
		Terminal:    e.tty,
		Stdin:       e.io.path(stdinFIFO),
		Stdout:      e.io.path(stdoutFIFO),
		Stderr:      e.io.path(stderrFIFO),
		Spec:        typeurl.MarshalProto(encoded),
	}
	if _, err := i.p.client.TaskService().Exec(ctx, request); err != nil {
		e.io.close()
		// It may have happened all the same.
		err = translate(ctx, err)
		if ended(ctx) != nil || errors.Is(err, errdefs.ErrUnavailable) {
			e.remove(ctx)
		}
		return nil, i.notExecuted(ctx, err)
	}
	if _, err := i.p.client.TaskService().Start(ctx, &tasksapi.StartRequest{ContainerID: i.id, ExecID: e.id}); err != nil {
		err = translate(ctx, err)
		if ended(ctx) != nil || errors.Is(err, errdefs.ErrUnavailable) {
			// Otherwise it failed at the backend, and there is no process.
			e.kill(ctx)
		}
		e.remove(ctx)
		e.io.close()
		return nil, i.notExecuted(ctx, err)
	}
	e.io.begin(func() {
		// The shim has the input open too, so that it ends with this call.
		ctx, cancel := i.p.cleanup(i.p.dress(i.p.alive))
		defer cancel()
		_, _ = i.p.client.TaskService().CloseIO(ctx, &tasksapi.CloseIORequest{ContainerID: i.id, ExecID: e.id, Stdin: true})
	})
	i.p.detached.Go(func() { e.follow(spec.Drain) })
	return e, nil
}

// notExecuted is the error of an instance in which nothing can be executed now,
// where that is what was wrong.
func (i *instance) notExecuted(ctx context.Context, err error) error {
	if resource.KindOf(err) == nil && ended(ctx) != nil || errors.Is(err, errdefs.ErrUnavailable) {
		return err
	}
	for begun := time.Now(); ; {
		t, loadErr := i.p.loadTask(ctx, i.id)
		if loadErr != nil {
			return err
		}
		if _, forbidden := compute.CheckTransition(stateOf(t), compute.OpExec); forbidden != nil {
			return forbidden
		}
		// Where nothing says what is wrong, the main process may just be ending.
		if resource.KindOf(err) != nil || time.Since(begun) > endTime {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// process is the main process's description with what the spec changes.
func (i *instance) process(ctx context.Context, c containers.Container, spec compute.ExecSpec) (*specs.Process, error) {
	// Decoding no more than the process leaves out the filter, which is most of it.
	var runtime struct {
		Process *specs.Process `json:"process"`
	}
	if c.Spec != nil {
		if err := json.Unmarshal(c.Spec.GetValue(), &runtime); err != nil {
			return nil, resource.Errorf(errdefs.ErrDataLoss, "the container's runtime spec: %w", err)
		}
	}
	out := runtime.Process
	if out == nil {
		return nil, resource.Errorf(errdefs.ErrDataLoss, "the container's runtime spec has no process")
	}
	p := spec.Process
	out.Args = slices.Concat(p.Command, p.Args)
	out.Terminal = p.TTY
	out.ConsoleSize = nil
	if p.TTY {
		size := spec.Size
		if size == (compute.TerminalSize{}) {
			size = defaultTerminal
		}
		out.ConsoleSize = &specs.Box{Width: uint(size.Width), Height: uint(size.Height)}
		out.Env = setEnv(out.Env, "TERM", "xterm", false)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Env)) {
		out.Env = setEnv(out.Env, name, p.Env[name], true)
	}
	if p.Dir != "" {
		out.Cwd = path.Clean(p.Dir)
	}
	if p.User == "" {
		return out, nil
	}
	var err error
	out.User, err = i.user(ctx, p.User)
	return out, err
}

// defaultTerminal is the size of a terminal of which none was said.
var defaultTerminal = compute.TerminalSize{Width: 80, Height: 24}

// setEnv sets a variable, or leaves one that is set alone.
func setEnv(env []string, name, value string, replace bool) []string {
	for i, entry := range env {
		if strings.HasPrefix(entry, name+"=") {
			if replace {
				env[i] = name + "=" + value
			}
			return env
		}
	}
	return append(env, name+"="+value)
}

// user resolves a user by the files that the running instance has now.
func (i *instance) user(ctx context.Context, text string) (specs.User, error) {
	t, err := i.p.loadTask(ctx, i.id)
	if err != nil {
		return specs.User{}, err
	}
	if _, err := compute.CheckTransition(stateOf(t), compute.OpExec); err != nil {
		return specs.User{}, err
	}
	files, err := readAccounts(fmt.Sprintf("/proc/%d/root", t.Pid))
	if errors.Is(err, os.ErrNotExist) {
		return specs.User{}, resource.Errorf(errdefs.ErrFailedPrecondition, "the run has just ended")
	}
	if err != nil {
		return specs.User{}, err
	}
	return files.user(text)
}

// follow waits for the end of the process and of its output, and removes what it
// leaves.
func (e *execution) follow(drain time.Duration) {
	p := e.inst.p
	ctx := p.dress(p.alive)
	tell := sync.OnceFunc(func() { close(e.over) })
	defer func() {
		e.io.close()
		if ctx.Err() == nil {
			tell()
			return
		}
		// Whoever waits must not find the caller's writers in use; but Close does not
		// wait for them.
		go func() {
			e.io.await()
			tell()
		}()
	}()
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		response, err := p.client.TaskService().Wait(ctx, &tasksapi.WaitRequest{ContainerID: e.inst.id, ExecID: e.id})
		switch err = translate(ctx, err); {
		case err == nil:
			e.exit = compute.ExecExit{Known: true, Code: int(response.ExitStatus)}
		case p.alive.Err() != nil:
			e.err = errClosed()
			return
		case !errors.Is(err, errdefs.ErrNotFound):
			// The daemon is away; the process is not.
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			continue
		}
		break
	}
	if drain == 0 {
		drain = compute.DefaultDrain
	}
	// Output is lost where the process is deleted before it has been read.
	e.exit.Cut, e.err = e.io.drain(ctx, drain)
	if e.exit.Cut {
		// Containerd waits for the child to let go of the output, ten seconds in
		// release 2.
		tell()
	}
	e.remove(ctx)
}

// remove deletes the process that has ended. Its output is not needed any more.
func (e *execution) remove(ctx context.Context) {
	p := e.inst.p
	ctx, cancel := p.cleanup(ctx)
	defer cancel()
	switch err := e.delete(ctx); {
	case err == nil:
	case errors.Is(err, errdefs.ErrUnavailable):
		p.owe(func(ctx context.Context) error {
			e.kill(ctx)
			return e.delete(ctx)
		})
	default:
		p.opts.Logger.Warn("could not delete an execution", "instance", e.inst.id, "execution", e.id, "error", err)
	}
}

func (e *execution) delete(ctx context.Context) error {
	_, err := e.inst.p.client.TaskService().DeleteProcess(ctx, &tasksapi.DeleteProcessRequest{ContainerID: e.inst.id, ExecID: e.id})
	return ignoreNotFound(translate(ctx, err))
}

// kill ends a process that nobody waits for: its start failed or was given up.
func (e *execution) kill(ctx context.Context) {
	ctx, cancel := e.inst.p.cleanup(ctx)
	defer cancel()
	request := &tasksapi.KillRequest{ContainerID: e.inst.id, ExecID: e.id, Signal: uint32(syscall.SIGKILL)}
	if _, err := e.inst.p.client.TaskService().Kill(ctx, request); err == nil {
		_, _ = e.inst.p.client.TaskService().Wait(ctx, &tasksapi.WaitRequest{ContainerID: e.inst.id, ExecID: e.id})
	}
}

// ID implements compute.Execution.
func (e *execution) ID() string { return e.id }

// Wait implements compute.Execution.
func (e *execution) Wait(ctx context.Context) (compute.ExecExit, error) {
	// What waits already when the provider is closed is told by follow.
	closed := e.inst.p.alive.Err() != nil
	err := ctx.Err()
	if closed || err == nil {
		// After Close too the caller's writers may be in use a moment longer.
		select {
		case <-e.over:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	switch {
	case closed:
		err = errClosed()
	case err == nil:
		return e.exit, e.inst.fail("wait", e.err)
	}
	return compute.ExecExit{}, e.inst.fail("wait", err)
}

// Signal implements compute.Execution.
func (e *execution) Signal(ctx context.Context, signal string) error {
	return e.act(ctx, "signal", func(ctx context.Context) error {
		number, err := compute.ParseSignal(signal)
		if err != nil {
			return err
		}
		select {
		case <-e.over:
			return resource.Errorf(errdefs.ErrNotFound, "the process has ended")
		default:
		}
		_, err = e.inst.p.client.TaskService().Kill(ctx, &tasksapi.KillRequest{ContainerID: e.inst.id, ExecID: e.id, Signal: uint32(number)})
		return translate(ctx, err)
	})
}

// Resize implements compute.Execution.
func (e *execution) Resize(ctx context.Context, size compute.TerminalSize) error {
	return e.act(ctx, "resize", func(ctx context.Context) error {
		if !e.tty {
			return resource.Errorf(errdefs.ErrFailedPrecondition, "the process has no terminal")
		}
		if size == (compute.TerminalSize{}) {
			size = defaultTerminal
		}
		_, err := e.inst.p.client.TaskService().ResizePty(ctx, &tasksapi.ResizePtyRequest{
			ContainerID: e.inst.id, ExecID: e.id, Width: uint32(size.Width), Height: uint32(size.Height)})
		return translate(ctx, err)
	})
}

func (e *execution) act(ctx context.Context, op string, do func(context.Context) error) error {
	ctx, done, err := e.inst.p.begin(ctx)
	if err != nil {
		return e.inst.fail(op, err)
	}
	defer done()
	return e.inst.fail(op, do(ctx))
}
