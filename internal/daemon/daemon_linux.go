package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Daemon is one use of a running daemon. Its methods may be called from many
// goroutines.
type Daemon struct {
	config Config
	use    *lock

	// cancel ends the supervisor and the log's watch, background waits for both.
	cancel     context.CancelFunc
	background sync.WaitGroup

	closing sync.Mutex
	closed  bool

	// proc belongs to the supervisor until background is done.
	proc *process

	mu      sync.Mutex
	status  Status
	changed chan struct{}
}

// Start returns the daemon of config.Dir, ready to be used: the one that runs
// there already, else a new one. It fails with
//
//   - InvalidArgument for a faulty Config,
//   - PermissionDenied if Dir is not private to the caller,
//   - FailedPrecondition if Dir holds something else,
//   - Unavailable if the daemon exits before it is ready, at once and with the
//     last lines of its log, or is not ready within StartTimeout.
//
// An error of Dir is a [FieldError]; none tells Name and Dir, which [Starting] puts
// before it.
//
// A process that was started in vain is ended again, also when ctx ends; one
// that was found running stays. ctx bounds the call, not the daemon, which runs
// until [Daemon.Close] and is restarted when it dies. If this program dies, the
// daemon goes on and the next Start adopts it, unless a service manager ends all
// that is in the program's cgroup.
func Start(ctx context.Context, config Config) (*Daemon, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := claim(ctx, config.Dir, config.Name)
	if err != nil {
		return nil, err
	}
	defer f.unlock()
	use, err := acquire(ctx, f.path(useFile), unix.LOCK_SH, os.O_CREATE)
	if err != nil {
		return nil, err
	}
	// A log that grew while nobody watched it.
	_ = trim(f.path(logFile), config.LogLimit)
	proc, adopted, err := f.bring(ctx, config)
	if err != nil {
		use.release()
		return nil, err
	}
	d := &Daemon{
		config:  config,
		use:     use,
		proc:    proc,
		status:  Status{State: Running, PID: proc.id.PID, Adopted: adopted},
		changed: make(chan struct{}),
	}
	var alive context.Context
	alive, d.cancel = context.WithCancel(context.WithoutCancel(ctx))
	d.background.Go(func() { d.supervise(alive) })
	d.background.Go(func() { boundLog(alive, f.path(logFile), config.LogLimit) })
	return d, nil
}

// bring returns the daemon of a locked folder once it is ready: the one that
// runs, or a new one if there is none or it dies before it answers.
func (f *folder) bring(ctx context.Context, config Config) (p *process, adopted bool, err error) {
	p, adopted, err = f.adopt()
	if err != nil {
		return nil, false, err
	}
	if adopted {
		if err := f.await(ctx, config, p); err != nil {
			p.release()
			if p.alive() {
				return nil, false, err
			}
			adopted = false
		}
	}
	if !adopted {
		if p, err = f.launch(ctx, config); err != nil {
			return nil, false, err
		}
	}
	if id, err := identify(p.id.PID); err == nil && p.alive() {
		p.id = id
	}
	if err := writeRecord(f.path(processFile), record{Version: recordVersion, Process: p.id}); err != nil {
		if adopted {
			p.release()
			return nil, false, err
		}
		return nil, false, p.undo(ctx, err)
	}
	return p, adopted, nil
}

// record is the content of process.json. It is there from before the first
// start of the daemon until it is shut down on purpose.
type record struct {
	Version int `json:"version"`
	// Process has no PID while the daemon is being started.
	Process identity `json:"process"`
	// Command is what is being started, to find the process by if its starter is
	// killed before it could record more.
	Command []string `json:"command,omitempty"`
}

// launch starts a new process and waits until it is ready. The records before
// and after the start see to it that at no moment a kill of this program leaves
// a daemon that cannot be found again.
func (f *folder) launch(ctx context.Context, config Config) (*process, error) {
	argv, err := config.Command(ctx)
	if err != nil {
		return nil, err
	}
	if len(argv) == 0 || !filepath.IsAbs(argv[0]) {
		return nil, fmt.Errorf("command line %q does not begin with an absolute path: %w", argv, errdefs.ErrInvalidArgument)
	}
	rec := record{Version: recordVersion, Command: argv}
	if err := writeRecord(f.path(processFile), rec); err != nil {
		return nil, err
	}
	p, err := f.spawn(argv, config.Env)
	if err != nil {
		return nil, err
	}
	rec.Process = p.id
	err = writeRecord(f.path(processFile), rec)
	if err == nil {
		err = f.await(ctx, config, p)
	}
	if err != nil {
		return nil, p.undo(ctx, err)
	}
	return p, nil
}

// adopt opens the process that the record names, if it is alive.
func (f *folder) adopt() (*process, bool, error) {
	var rec record
	err := readRecord(f.path(processFile), &rec)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err == nil {
		err = checkVersion(f.path(processFile), rec.Version)
	}
	if err != nil {
		return nil, false, err
	}
	if rec.Process.PID != 0 {
		return attach(rec.Process)
	}
	if id, found := search(f.owner.ID, rec.Command); found {
		return attach(id)
	}
	return nil, false, nil
}

// undoGrace is the time in which a process that was started in vain may end what
// it has itself started.
const undoGrace = 3 * time.Second

// undo ends a process that was started in vain. Its record stays, so that other
// users of the folder see a daemon that died, not one that was shut down.
func (p *process) undo(ctx context.Context, err error) error {
	return errors.Join(err, p.terminate(context.WithoutCancel(ctx), undoGrace))
}

// await returns when the process is ready, has exited, or its time is up.
func (f *folder) await(ctx context.Context, config Config, p *process) error {
	expired := fmt.Errorf("not ready after %s: %w", config.StartTimeout, errdefs.ErrUnavailable)
	limit, cancel := context.WithTimeoutCause(ctx, config.StartTimeout, expired)
	defer cancel()
	// A call of Ready must not outlast the process.
	attempt, end := context.WithCancel(limit)
	defer end()
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		select {
		case <-p.ended:
			end()
		case <-attempt.Done():
		}
	}()
	defer func() { end(); <-watching }()

	for wait := 2 * time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		err := config.Ready(attempt)
		if !p.alive() {
			return withLog(fmt.Errorf("exited before it was ready: %s: %w", p.how(), errdefs.ErrUnavailable), f.path(logFile), p.logStart)
		}
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
		case <-time.After(wait):
		case <-limit.Done():
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return withLog(fmt.Errorf("process %d is %w; last attempt: %v", p.id.PID, expired, err), f.path(logFile), p.logStart)
		}
	}
}

// Status returns what is known of the daemon, and a channel that is closed at
// the next change.
func (d *Daemon) Status() (Status, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.status, d.changed
}

func (d *Daemon) setStatus(change func(*Status)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(&d.status)
	close(d.changed)
	d.changed = make(chan struct{})
}

// Health returns nil while the daemon runs. Else the error is Unavailable and
// says whether it is being restarted, was given up or was shut down by another
// user of the folder; on a closed value it is [fs.ErrClosed].
func (d *Daemon) Health() error {
	status, _ := d.Status()
	return status.health(d.config.Name)
}

// Close ends this use of the daemon and its supervision. If leave is false and
// no other value, in whatever process, uses the folder, the daemon is shut
// down: SIGTERM, then SIGKILL after Grace or when ctx ends; Close returns when
// it is gone. If leave is true the daemon runs on, unsupervised; should it be a
// child of this program, one parked goroutine stays to reap it. A context that
// is done already leaves it too and is returned as the error. Closing twice is
// nil.
func (d *Daemon) Close(ctx context.Context, leave bool) error {
	d.closing.Lock()
	defer d.closing.Unlock()
	if d.closed {
		return nil
	}
	return d.end(ctx, func(f *folder) error {
		if leave || !d.use.exclusive() {
			return nil
		}
		return d.shutDown(ctx, f)
	})
}

// Stop shuts the daemon down although others may use it, and closes this value.
// Their values see the state Stopped; none restarts the daemon. Stop on a
// closed value is [fs.ErrClosed].
func (d *Daemon) Stop(ctx context.Context) error {
	d.closing.Lock()
	defer d.closing.Unlock()
	if d.closed {
		return fmt.Errorf("stop %s: %w", d.config.Name, fs.ErrClosed)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return d.end(ctx, func(f *folder) error { return d.shutDown(ctx, f) })
}

// shutDown ends the daemon and waits until a child of this value is no zombie.
func (d *Daemon) shutDown(ctx context.Context, f *folder) error {
	if err := f.shutDown(ctx, d.config.Grace); err != nil || d.proc.child == nil {
		return err
	}
	return d.proc.reaped()
}

// end closes the value and runs last while the folder is locked.
func (d *Daemon) end(ctx context.Context, last func(*folder) error) error {
	d.closed = true
	d.cancel()
	d.background.Wait()
	defer d.use.release()
	defer d.proc.release()
	defer d.setStatus(func(s *Status) { *s = Status{State: Closed} })

	err := ctx.Err()
	if err == nil {
		var f *folder
		if f, err = open(ctx, d.config.Dir, d.config.Name); err == nil {
			err = last(f)
			f.unlock()
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("close %s in %s: %w", d.config.Name, d.config.Dir, err)
	}
	return nil
}

// shutDown ends the daemon of a locked folder. The record goes first: its
// absence tells the other supervisors that this is on purpose.
func (f *folder) shutDown(ctx context.Context, grace time.Duration) error {
	p, alive, err := f.adopt()
	if err != nil {
		return err
	}
	if err := os.Remove(f.path(processFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !alive {
		return nil
	}
	defer p.release()
	return p.terminate(ctx, grace)
}
