package fake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// Process is a program that runs in an instance, as the program itself sees it.
// Its fields are set before the program starts and are the program's own; its
// methods may be called concurrently. Once the program has returned or was killed
// they fail.
type Process struct {
	// Args is the argument vector, the program's name first.
	Args []string
	// Env is the environment as NAME=value, sorted.
	Env []string
	// Dir is the working directory.
	Dir string
	// User is who the program runs as.
	User User
	// PID is the process's number inside the instance; 1 is the main process.
	PID int
	// TTY says that the standard streams are a terminal.
	TTY bool
	// Stdin is the standard input; it is at its end where there is none.
	Stdin io.Reader
	// Stdout and Stderr are the standard output streams. Those of the main
	// process are kept as its log.
	Stdout, Stderr io.Writer
	// Instance is the instance that the process runs in.
	Instance resource.Ref

	run     *run
	command command
	ctx     context.Context
	cancel  context.CancelFunc
	streams streams
	sockets sockets
	// over is closed when the process has ended: its program has returned, or was
	// abandoned.
	over chan struct{}

	// The backend's lock guards what follows.
	ended bool
	// fatal is the signal that killed it, or 0; code is what it ended with.
	fatal  int
	oom    bool
	code   int
	memory int64
	// signals is made by the first call of Signals.
	signals chan string
	size    compute.TerminalSize
	giveUp  *time.Timer
	// shutting says that the process ends, and its sockets are being closed.
	shutting bool
	// abandoned says that the program did not return when it was killed.
	abandoned bool
}

// User is who a process runs as.
type User struct {
	// Name is the user's name; empty where the image knows none for the number.
	Name string
	// UID and GID are the numbers of the user and the primary group.
	UID, GID int
	// Groups are the numbers of the supplementary groups.
	Groups []int
	// Home is the home directory. Empty in Image.Users means /root for the number
	// 0 and /home/NAME for all others.
	Home string
}

// Getenv returns a variable of the environment, or "".
func (p *Process) Getenv(name string) string { return valueOf(p.Env, name) }

// Hostname returns the instance's host name.
func (p *Process) Hostname() string {
	if spec := p.Spec(); spec.Hostname != "" {
		return spec.Hostname
	}
	return p.Instance.Name
}

// Spec returns the instance's present spec. Its maps and lists are shared and
// must not be changed.
func (p *Process) Spec() compute.Spec {
	b := p.run.backend()
	b.mu.Lock()
	defer b.mu.Unlock()
	return *p.run.instance.spec
}

// Limits returns what the run is limited to: the spec's resources without what
// waits for the next start.
func (p *Process) Limits() compute.Resources {
	b := p.run.backend()
	b.mu.Lock()
	defer b.mu.Unlock()
	return *p.run.limits
}

// Signals returns the signals that are sent to the process, by name, such as
// "SIGTERM". Before the first call a signal has its default effect, which for
// most is to kill the process; from then on only SIGKILL does. Signals that are
// not read are dropped when many wait.
func (p *Process) Signals() <-chan string {
	b := p.run.backend()
	b.mu.Lock()
	defer b.mu.Unlock()
	if p.signals == nil {
		p.signals = make(chan string, 64)
	}
	return p.signals
}

// Raise sends the process a signal, as kill(2) does to itself.
func (p *Process) Raise(signal string) error {
	number, err := compute.ParseSignal(signal)
	if err != nil {
		return err
	}
	b := p.run.backend()
	b.mu.Lock()
	defer b.mu.Unlock()
	return p.signal(number)
}

// TerminalSize returns the size of the terminal; SIGWINCH tells of a change.
func (p *Process) TerminalSize() compute.TerminalSize {
	b := p.run.backend()
	b.mu.Lock()
	defer b.mu.Unlock()
	return p.size
}

// Alloc takes so many bytes of memory into use until Free or the process's end.
// Where the instance's limit is exceeded the process is killed, as the kernel
// does for want of memory, and the error says so: the program must return.
func (p *Process) Alloc(bytes int64) error {
	if bytes < 0 {
		return errors.New("the size must not be negative")
	}
	r := p.run
	b := r.backend()
	b.mu.Lock()
	defer b.mu.Unlock()
	if p.thawed(); p.ended || p.fatal != 0 {
		return errEnded
	}
	limit := r.limits.Memory
	if limit > 0 {
		limit += r.limits.Swap
	}
	if limit > 0 && bytes > limit-r.memory {
		r.oomKills++
		r.peak = limit
		p.oom = true
		r.instance.space.emit(r.instance, resource.EventChanged, resource.ReasonOOM)
		p.kill(sigKill)
		return resource.Errorf(errdefs.ErrResourceExhausted, "out of memory: the limit is %s", resource.FormatSize(limit))
	}
	p.memory += bytes
	r.memory += bytes
	r.peak = max(r.peak, r.memory)
	return nil
}

// Free gives back memory that Alloc took, at most all of it.
func (p *Process) Free(bytes int64) {
	b := p.run.backend()
	b.mu.Lock()
	defer b.mu.Unlock()
	bytes = max(0, min(bytes, p.memory))
	p.memory -= bytes
	p.run.memory -= bytes
}

// Spin uses one processor for that long, or until the context ends or the process
// does; negative means without end. Nothing is really computed: the counters of
// Stats say that it was.
func (p *Process) Spin(ctx context.Context, d time.Duration) error {
	if err := p.pass(); err != nil {
		return err
	}
	r := p.run
	b := r.backend()
	spin := func(n int) {
		b.mu.Lock()
		defer b.mu.Unlock()
		r.settle(time.Now())
		r.spinning += n
	}
	spin(1)
	defer spin(-1)
	var done <-chan time.Time
	if d >= 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		done = t.C
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-p.ctx.Done():
		return errEnded
	}
}

// Spawn starts a child: a command that is looked up as the instance's own is. It
// has its parent's environment, user, directory and output streams, an empty
// input, and outlives its parent, but not the main process.
func (p *Process) Spawn(args ...string) error {
	if len(args) == 0 {
		return errors.New("a command is required")
	}
	if err := p.pass(); err != nil {
		return err
	}
	r := p.run
	b := r.backend()
	program, ok := b.lookUp(r.instance.image, p.command.env, args[0])
	if !ok {
		return resource.Errorf(errdefs.ErrNotFound, "the program %s", noProgram(args[0]))
	}
	c := p.command
	c.args, c.program = slices.Clone(args), program
	b.mu.Lock()
	defer b.mu.Unlock()
	if p.ended || p.fatal != 0 {
		return errEnded
	}
	_, err := r.spawn(c, streams{out: p.streams.out, err: p.streams.err}, p.TTY, p.size)
	return err
}

// pass waits while the instance is paused; its error says that the process has
// ended.
func (p *Process) pass() error {
	b := p.run.backend()
	b.mu.Lock()
	defer b.mu.Unlock()
	if p.thawed(); p.ended || p.fatal != 0 {
		return errEnded
	}
	return nil
}

// thawed waits while the instance is paused, unless the process is killed. The
// backend is locked before and after.
func (p *Process) thawed() {
	b := p.run.backend()
	for p.run.frozen != nil && !p.ended && p.fatal == 0 {
		frozen := p.run.frozen
		b.mu.Unlock()
		select {
		case <-frozen:
		case <-p.ctx.Done():
		}
		b.mu.Lock()
	}
}

const (
	sigKill  = 9
	sigTerm  = 15
	sigWinch = 28
)

// signalNames saves making them anew.
var signalNames = func() (names [65]string) {
	for number := range names {
		names[number] = compute.SignalName(number)
	}
	return names
}()

// harmless reports whether a signal does nothing to a process that does not ask
// for it.
func harmless(signal int) bool {
	switch signal {
	case 17, 18, 19, 20, 21, 22, 23, sigWinch:
		// CHLD, CONT, STOP, TSTP, TTIN, TTOU, URG, WINCH. Nothing here runs under a
		// shell that would continue what was stopped.
		return true
	}
	return false
}

// signal has a signal take its effect. The backend is locked.
func (p *Process) signal(number int) error {
	switch {
	case p.ended:
		return errEnded
	case p.fatal != 0:
	case number == sigKill, p.signals == nil && !harmless(number):
		p.kill(number)
	case p.signals != nil:
		select {
		case p.signals <- signalNames[number]:
		default:
		}
	}
	return nil
}

// kill ends the process by a signal: its program has the rest of its grace to
// return. The backend is locked.
func (p *Process) kill(signal int) {
	if p.ended || p.fatal != 0 {
		return
	}
	p.fatal = signal
	p.cancel()
	// What waits for the network is to return too; closing must not be locked.
	p.run.backend().crew.run(p.sockets.close)
	p.giveUp = time.AfterFunc(p.run.backend().opts.ProgramGrace, func() { p.end(0, true) })
}

// end is called when the program has returned, or when it is abandoned; what comes
// second does nothing. It reports whether it was first.
func (p *Process) end(code int, abandoned bool) bool {
	b := p.run.backend()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !abandoned {
		// What is paused does not end.
		p.thawed()
	}
	if p.shutting {
		return false
	}
	p.shutting = true
	if p.giveUp != nil {
		p.giveUp.Stop()
	}
	p.cancel()
	// As a kernel does, before anybody can see that it has ended.
	b.mu.Unlock()
	p.sockets.close()
	b.mu.Lock()
	p.ended, p.abandoned = true, abandoned
	p.code = code & 0xff
	if p.fatal != 0 {
		p.code = 128 + p.fatal
	}
	p.run.memory -= p.memory
	p.streams.leave()
	if abandoned {
		b.abandoned = append(b.abandoned, fmt.Sprintf("program %q of %s", p.Args[0], p.Instance.Label()))
		b.crew.leave()
	}
	close(p.over)
	p.run.left(p)
	return true
}
