package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// process is a daemon that is alive, or was when the value was made.
type process struct {
	id    identity
	pidfd *os.File
	// ended is closed when the process has exited, and no sooner.
	ended chan struct{}
	// child is set if this value started the process, so must reap it.
	child *exec.Cmd
	// logStart is where its output begins in the log.
	logStart int64
}

// attach opens a process that runs under the recorded identity. The second
// result is false if there is none any more.
func attach(id identity) (*process, bool, error) {
	if id.PID <= 0 {
		return nil, false, nil
	}
	// Without /proc a living daemon would be taken for a dead one.
	if boot, err := bootID(); err != nil || boot != id.Boot {
		return nil, false, err
	}
	fd, err := unix.PidfdOpen(id.PID, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("pidfd_open %d: %w", id.PID, err)
	}
	// What is read from /proc after the pidfd was opened speaks of the same
	// process if the pidfd has not ended by then.
	now, err := identify(id.PID)
	if err != nil || !id.same(now) || exited(fd) {
		unix.Close(fd)
		return nil, false, nil
	}
	p := &process{id: now, pidfd: os.NewFile(uintptr(fd), "pidfd"), ended: make(chan struct{})}
	go p.watch()
	return p, true, nil
}

func exited(pidfd int) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if !errors.Is(err, unix.EINTR) {
			return n > 0
		}
	}
}

// watch closes ended when the process exits. It parks in the runtime's poller,
// not in a thread. It returns early if the pidfd is closed.
func (p *process) watch() {
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return
	}
	gone := false
	err = raw.Read(func(fd uintptr) bool {
		gone = exited(int(fd))
		return gone
	})
	if err != nil || !gone {
		return
	}
	if p.child != nil {
		// The error says how it ended, which ProcessState tells as well.
		_ = p.child.Wait()
		p.pidfd.Close()
	}
	close(p.ended)
}

// release ends the watch of an adopted process. That of a child goes on until
// the child ends, or a zombie would stay for as long as this program runs.
func (p *process) release() {
	if p.child == nil {
		p.pidfd.Close()
	}
}

func (p *process) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// how says how the process ended, once it has.
func (p *process) how() string {
	if p.child != nil && p.child.ProcessState != nil {
		return p.child.ProcessState.String()
	}
	return "status unknown, it was started by another process"
}

// signal is nil if the process has ended.
func (p *process) signal(sig unix.Signal) error {
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	// The pidfd of a child is closed once it has been reaped, so an error of
	// Control means the same as ESRCH.
	_ = raw.Control(func(fd uintptr) { err = unix.PidfdSendSignal(int(fd), sig, nil, 0) })
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// reapTime is how long a killed process may take to vanish. One that takes
// longer hangs in the kernel.
const reapTime = 10 * time.Second

// terminate ends the process: SIGTERM, after grace or with ctx SIGKILL. It
// returns once the process is gone.
func (p *process) terminate(ctx context.Context, grace time.Duration) error {
	if grace > 0 && ctx.Err() == nil {
		if err := p.signal(unix.SIGTERM); err != nil {
			return fmt.Errorf("signal process %d: %w", p.id.PID, err)
		}
		// One that was stopped cannot act on SIGTERM before it is continued.
		_ = p.signal(unix.SIGCONT)
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-p.ended:
			return nil
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	if err := p.signal(unix.SIGKILL); err != nil {
		return fmt.Errorf("kill process %d: %w", p.id.PID, err)
	}
	return p.reaped()
}

// reaped waits for the end of a process that was killed.
func (p *process) reaped() error {
	timer := time.NewTimer(reapTime)
	defer timer.Stop()
	select {
	case <-p.ended:
		return nil
	case <-timer.C:
		return fmt.Errorf("process %d is still there %s after SIGKILL: %w", p.id.PID, reapTime, errdefs.ErrUnavailable)
	}
}

// spawn starts argv in a session of its own, with its output in the log.
func (f *folder) spawn(argv, env []string) (*process, error) {
	log, err := os.OpenFile(f.path(logFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	info, err := log.Stat()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(append([]string(nil), env...), markVariable+"="+f.owner.ID)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := sealed(cmd.Start); err != nil {
		return nil, err
	}
	p := &process{child: cmd, ended: make(chan struct{}), logStart: info.Size()}
	// The child cannot be reaped by anybody else, so its pid is its own.
	fd, err := unix.PidfdOpen(cmd.Process.Pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, fmt.Errorf("pidfd_open: %w", err)
	}
	p.pidfd = os.NewFile(uintptr(fd), "pidfd")
	id, err := identify(cmd.Process.Pid)
	if err != nil {
		// It ended already: what it was is of no use any more.
		id = identity{PID: cmd.Process.Pid}
	}
	id.Exe = ""
	p.id = id
	go p.watch()
	return p, nil
}
