//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/univirt/univirt/internal/filelock"
	"github.com/univirt/univirt/internal/forward"
	"github.com/univirt/univirt/internal/netns"
	"github.com/univirt/univirt/internal/pidfd"
)

const (
	// lockTime is more than somebody needs to look whether the lock is held.
	lockTime = 200 * time.Millisecond
	// A process whose run has just ended gives its ports back a moment later.
	releaseTime = 300 * time.Millisecond
)

// runForward forwards ports of the host for as long as a process runs. On stdin it is
// told a line for each port, with the protocol, where to listen and the addresses to
// forward to; then, behind an empty line, the number of the process. It answers with
// "taken" and the ports once it has taken them all, and with "ok" once it forwards. If
// stdin ends before, it ends too: whoever has begun it has died.
func runForward(args map[string]string) error {
	if !filepath.IsAbs(args["file"]) || args["mark"] == "" {
		return errUsage
	}
	if args["detached"] != "true" {
		return detach()
	}
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGPIPE)
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), lockTime)
	defer cancel()
	lock, err := filelock.Acquire(ctx, args["file"], filelock.Exclusive)
	if errors.Is(err, context.DeadlineExceeded) {
		fmt.Println("held")
		return nil
	}
	if err != nil {
		return refuse(err)
	}
	defer lock.Release()
	d := dialler{}
	if path := args["namespace"]; path != "" {
		if d.namespace, err = netns.Open(path); err != nil {
			return refuse(err)
		}
	}
	told := bufio.NewReader(os.Stdin)
	ports, err := takePorts(told, d.dial)
	if err != nil {
		return refuse(err)
	}
	if err := note(args["file"], ports); err != nil {
		return refuse(err)
	}
	fmt.Print("taken")
	for _, p := range ports {
		fmt.Print(" ", p.Addr().Port())
	}
	fmt.Println()
	run, err := follow(told, args["mark"])
	if err != nil {
		return refuse(err)
	}
	for _, p := range ports {
		go p.Serve()
	}
	fmt.Println("ok")
	if err := letGo(); err != nil {
		return err
	}
	pidfd.Wait(run)
	for _, p := range ports {
		p.Close()
	}
	return nil
}

// refuse answers with an error, and its number where it has one.
func refuse(err error) error {
	var number syscall.Errno
	_ = errors.As(err, &number)
	fmt.Println("fail", int(number), strings.ReplaceAll(err.Error(), "\n", "; "))
	return err
}

// detach starts this program again, as nobody's child, and ends.
func detach() error {
	_, err := syscall.ForkExec("/proc/self/exe", append(os.Args, "detached", "true"), &syscall.ProcAttr{
		Dir: "/", Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	return err
}

// letGo gives back what the caller may wait for the end of.
func letGo() error {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	for fd := range 3 {
		if err := unix.Dup3(null, fd, 0); err != nil {
			return err
		}
	}
	return unix.Close(null)
}

type dialler struct{ namespace *os.File }

func (d dialler) dial(ctx context.Context, protocol string, to netip.AddrPort) (net.Conn, error) {
	return netns.Dial(ctx, d.namespace, protocol, to)
}

// takePorts takes all ports that it is told.
func takePorts(told *bufio.Reader, dial forward.Dial) (all []*forward.Forwarder, err error) {
	for {
		line, err := told.ReadString('\n')
		if err != nil {
			return nil, err
		}
		fields := strings.Fields(line)
		if len(fields) == 0 {
			return all, nil
		}
		rule, err := parseRule(fields)
		if err != nil {
			return nil, err
		}
		p, err := forward.Listen(rule, dial)
		for end := time.Now().Add(releaseTime); errors.Is(err, unix.EADDRINUSE) && time.Now().Before(end); p, err = forward.Listen(rule, dial) {
			time.Sleep(5 * time.Millisecond)
		}
		if err != nil {
			return nil, fmt.Errorf("%d %w", len(all), err)
		}
		all = append(all, p)
	}
}

func parseRule(fields []string) (forward.Rule, error) {
	if len(fields) < 3 {
		return forward.Rule{}, errUsage
	}
	at, err := netip.ParseAddrPort(fields[1])
	rule := forward.Rule{Protocol: fields[0], Listen: at}
	for _, text := range fields[2:] {
		to, err2 := netip.ParseAddrPort(text)
		rule.To, err = append(rule.To, to), errors.Join(err, err2)
	}
	return rule, err
}

// note writes down which ports there are, for those who ask while this process runs,
// and for the next one, which tries to take the same.
func note(path string, ports []*forward.Forwarder) error {
	var text bytes.Buffer
	for _, p := range ports {
		fmt.Fprintln(&text, p.Addr().Port())
	}
	// The file is locked, so that it must stay.
	return os.WriteFile(path, text.Bytes(), 0o600)
}

// follow opens the process that it is told, which has the mark in its command line.
func follow(told *bufio.Reader, mark string) (*os.File, error) {
	line, err := told.ReadString('\n')
	if err != nil {
		return nil, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return nil, err
	}
	return pidfd.Open(pid, func(pid int) bool {
		line, err := os.ReadFile(procPath(pid, "cmdline"))
		return err == nil && bytes.Contains(line, []byte("\x00"+mark+"\x00"))
	})
}
