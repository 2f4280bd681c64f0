//go:build linux && amd64

package main

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// processes starts processes and reaps them, and the orphans that process 1
// inherits. Package os cannot do that: it would lose those that are reaped here.
type processes struct {
	mu     sync.Mutex
	ours   map[int]*process
	ending bool          // nothing is started any more
	none   chan struct{} // closed when nothing of ours is left, once ending
}

// process is one that was started here.
type process struct {
	pid    int
	ended  chan struct{} // closed when it has ended
	status unix.WaitStatus
}

func newProcesses() *processes {
	p := &processes{ours: map[int]*process{}, none: make(chan struct{})}
	children := catch(unix.SIGCHLD)
	go func() {
		for range children {
			p.reap()
		}
	}()
	return p
}

func (p *processes) reap() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if one, ok := p.ours[pid]; ok {
			delete(p.ours, pid)
			one.status = status
			close(one.ended)
			p.check()
		}
	}
}

// start starts a program in a session of its own, on a terminal if one is given.
func (p *processes) start(out, terminal *os.File, args ...string) (*process, error) {
	in := terminal
	if in == nil {
		null, err := os.Open(os.DevNull)
		if err != nil {
			return nil, err
		}
		defer null.Close()
		in = null
	}
	// The reaper must not meet a process that it does not know yet.
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ending {
		return nil, errors.New("the machine ends")
	}
	pid, err := syscall.ForkExec(args[0], args, &syscall.ProcAttr{
		Dir:   "/",
		Env:   []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=dumb", "PS1=guest# "},
		Files: []uintptr{in.Fd(), out.Fd(), out.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: terminal != nil},
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", args[0], err)
	}
	one := &process{pid: pid, ended: make(chan struct{})}
	p.ours[pid] = one
	return one, nil
}

// end forbids to start more, and returns a channel that is closed when nothing is
// left that was started here. It is called once.
func (p *processes) end() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ending = true
	p.check()
	return p.none
}

func (p *processes) check() {
	if p.ending && len(p.ours) == 0 {
		close(p.none)
	}
}

func (p *process) kill()      { _ = unix.Kill(p.pid, unix.SIGKILL) }
func (p *process) terminate() { _ = unix.Kill(p.pid, unix.SIGTERM) }

// how says how it has ended, as a shell would.
func (p *process) how() string {
	if p.status.Signaled() {
		return fmt.Sprintf("signal %d", p.status.Signal())
	}
	return fmt.Sprintf("code %d", p.status.ExitStatus())
}
