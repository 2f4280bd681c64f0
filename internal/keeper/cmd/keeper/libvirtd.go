//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// A program that ends sooner cannot start, which is for the one who started
	// this process to judge; one that lived longer is started again.
	tooShort = time.Second
	// patience is how long a program may take to end. Both keep what matters on
	// the disk, so they lose nothing when they are killed.
	patience = 2 * time.Second
	// The old libvirtd, whose parent was killed, holds its lock a moment longer.
	handover = 5 * time.Second
)

// Namespaces and the signal at a parent's death belong to threads: everything here
// happens in the first one, which lives as long as the process.
func init() { runtime.LockOSThread() }

// program is a child that is to run for as long as this process.
type program struct {
	argv  []string
	death syscall.Signal // what it gets when this process dies
	pid   int            // 0: it has ended
	group int            // the processes that it began, if it is our child
	began time.Time
}

func (p *program) start() error {
	pid, err := syscall.ForkExec(p.argv[0], p.argv, &syscall.ProcAttr{
		Dir:   "/",
		Env:   os.Environ(),
		Files: []uintptr{0, 1, 2},
		Sys:   &syscall.SysProcAttr{Setsid: true, Pdeathsig: p.death},
	})
	if err != nil {
		return fmt.Errorf("%s: %w", p.argv[0], err)
	}
	p.pid, p.group, p.began = pid, pid, time.Now()
	return nil
}

// host is the parent of a private libvirtd, of its log daemon, and of whatever
// loses its parent in there, VMs above all.
type host struct {
	libvirtd, virtlogd program
	signals            chan os.Signal
	// loggerGone tells the end of a log daemon that is not our child.
	loggerGone chan struct{}
}

// runLibvirtd starts libvirtd in namespaces of its own, starts it again when it
// dies, and ends it with SIGTERM. If this process is killed libvirtd dies with it.
// The log daemon lives on then, with the VMs that write to it: they hold the
// namespaces into which the next process of this role goes.
func runLibvirtd(args map[string]string) error {
	s := space{dir: args["dir"], hideKVM: args["hide-kvm"] == "true", network: args["network"] == "private"}
	for _, path := range []string{s.dir, args["libvirtd"], args["virtlogd"]} {
		if !filepath.IsAbs(path) {
			return errUsage
		}
	}
	h := &host{
		libvirtd: program{
			argv:  []string{args["libvirtd"], "--config", "/etc/libvirt/libvirtd.conf", "--pid-file", pidFile},
			death: syscall.SIGKILL,
		},
		virtlogd: program{
			argv: []string{args["virtlogd"], "--config", "/etc/libvirt/virtlogd.conf", "--pid-file", "/run/libvirt/virtlogd.pid"},
		},
		signals:    make(chan os.Signal, 16),
		loggerGone: make(chan struct{}, 1),
	}
	signal.Notify(h.signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the reaper: %w", err)
	}
	if err := s.enter(); err != nil {
		return err
	}
	err := h.begin(s.logger())
	if err == nil {
		err = h.watch()
	}
	return errors.Join(err, h.end())
}

// begin starts what does not run in the namespaces yet.
func (h *host) begin(logger int) (err error) {
	if logger != 0 {
		h.virtlogd.pid = logger
		err = h.watchLogger(logger)
	} else {
		err = h.virtlogd.start()
	}
	if err != nil {
		return err
	}
	if err := awaitUnlocked(pidFile, handover); err != nil {
		return err
	}
	return h.libvirtd.start()
}

// watchLogger tells when a process ends that is not our child.
func (h *host) watchLogger(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("log daemon %d: %w", pid, err)
	}
	go func() {
		defer func() { _ = unix.Close(fd) }()
		for {
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			if !errors.Is(err, unix.EINTR) {
				h.loggerGone <- struct{}{}
				return
			}
		}
	}()
	return nil
}

// watch keeps both programs running until this process is to end. The error says
// which of them cannot run.
func (h *host) watch() error {
	for {
		select {
		case got := <-h.signals:
			if got != syscall.SIGCHLD {
				return nil
			}
			for _, dead := range h.reap() {
				if lived := time.Since(dead.began); lived < tooShort {
					return fmt.Errorf("%s ended %s after its start", dead.argv[0], lived.Round(time.Millisecond))
				}
				if err := dead.start(); err != nil {
					return err
				}
			}
		case <-h.loggerGone:
			if err := h.virtlogd.start(); err != nil {
				return err
			}
		}
	}
}

// reap collects every child that has ended, at once: libvirt waits until the pid
// of a VM that it has killed is gone. It returns those of our programs that were
// among them.
func (h *host) reap() (dead []*program) {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid == 0 {
			return dead
		}
		for _, p := range []*program{&h.libvirtd, &h.virtlogd} {
			if p.pid == pid {
				p.pid = 0
				dead = append(dead, p)
			}
		}
	}
}

// end ends libvirtd, and the log daemon unless somebody else is left in the
// namespaces, who would lose the log and the way back. What listens no more is
// removed.
func (h *host) end() error {
	if err := h.stop(&h.libvirtd); err != nil {
		return err
	}
	sockets := []string{"libvirt-sock", "libvirt-sock-ro", "libvirt-admin-sock"}
	others, err := inhabited(os.Getpid(), h.virtlogd.pid)
	if err != nil {
		return err
	}
	if !others {
		if err := h.stop(&h.virtlogd); err != nil {
			return err
		}
		sockets = append(sockets, loggerSocket, "virtlogd-admin-sock")
	}
	for _, name := range sockets {
		_ = os.Remove(filepath.Join(runFolder, name))
	}
	return nil
}

// stop ends a program, with force if it does not listen, and what it was running:
// what it has started for good, such as a VM, has left its group of processes.
func (h *host) stop(p *program) error {
	if p.pid != 0 {
		_ = unix.Kill(p.pid, unix.SIGTERM)
	}
	for limit, killed := time.After(patience), false; ; {
		if p.pid == 0 && (p.group == 0 || unix.Kill(-p.group, unix.SIGKILL) != nil) {
			return nil
		}
		select {
		case <-h.signals:
			h.reap()
		case <-h.loggerGone:
			h.virtlogd.pid = 0
		case <-limit:
			if killed {
				return fmt.Errorf("%s, or what it began, is still there after SIGKILL", p.argv[0])
			}
			killed, limit = true, time.After(patience)
			if p.pid != 0 {
				_ = unix.Kill(p.pid, unix.SIGKILL)
			}
		}
	}
}
