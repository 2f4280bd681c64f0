package guest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/univirt/univirt/providers/providertest/guest"

	"github.com/stretchr/testify/assert"
)

// An environment that offers nothing gets an answer from every sub command, and
// no panic.
func TestBareEnvironment(t *testing.T) {
	cases := map[string]int{
		"exit|3": 3, "sleep|0s": 0, "late|0s|x": 0, "die|TERM": 143, "echo|x": 0, "printf|x": 0,
		"both|1": 0, "lines|1|0s": 0, "cat": 0, "flood|10|both": 0, "help": 0, "args": 0, "env": 0,
		"id": 0, "pid": 0, "pwd": 0, "tty": 0, "spin|0s": 0, "none": guest.ExitUnknown,
		"background|0s": guest.ExitUnsupported, "orphan|0s": guest.ExitUnsupported,
		"hostname": guest.ExitUnsupported, "write|a|b": guest.ExitUnsupported, "read|a": guest.ExitUnsupported,
		"ls|a": guest.ExitUnsupported, "stat|a": guest.ExitUnsupported, "listen|:0": guest.ExitUnsupported,
		"dial|a|b": guest.ExitUnsupported, "resolve|a": guest.ExitUnsupported, "alloc|1": guest.ExitUnsupported,
		"limits": guest.ExitUnsupported, "hardening": guest.ExitUnsupported,
	}
	for args, want := range cases {
		t.Run(args, func(t *testing.T) {
			env := guest.Env{Args: append([]string{guestPath}, strings.Split(args, "|")...)}
			assert.Equal(t, want, guest.Main(t.Context(), env))
		})
	}
	assert.Equal(t, guest.ExitUsage, guest.Main(t.Context(), guest.Env{}))
}

// What an environment's functions say is passed on.
func TestEnvironmentErrors(t *testing.T) {
	fault := errors.New("out of order")
	env := guest.Env{
		Raise:      func(guest.Signal) error { return fault },
		Hostname:   func() (string, error) { return "", fault },
		LookupHost: func(context.Context, string) ([]string, error) { return nil, nil },
		Alloc:      func(int64) error { return fault },
		Spin:       func(context.Context, time.Duration) error { return fault },
		Spawn:      func(...string) error { return fault },
		Limits:     func() (guest.Limits, error) { return guest.Limits{}, fault },
		Hardening:  func() (guest.Hardening, error) { return guest.Hardening{}, fault },
	}
	for args, want := range map[string]string{
		"die|TERM": fault.Error(), "hostname": fault.Error(), "resolve|x": "no addresses",
		"alloc|1": fault.Error(), "spin": fault.Error(), "background|1s": fault.Error(),
		"limits": fault.Error(), "hardening": fault.Error(),
	} {
		t.Run(args, func(t *testing.T) {
			var stderr strings.Builder
			env := env
			env.Args, env.Stderr = append([]string{guestPath}, strings.Split(args, "|")...), &stderr
			assert.Equal(t, 1, guest.Main(t.Context(), env))
			assert.Equal(t, "guest "+strings.Split(args, "|")[0]+": "+want+"\n", stderr.String())
		})
	}
}

// The programs live in a bubble: they wait only on time and on channels, and
// leave no goroutine behind, wherever they are ended.
func TestBubble(t *testing.T) {
	ends := map[string]func(kill func(), signals chan<- guest.Signal) int{
		"killed": func(kill func(), _ chan<- guest.Signal) int { kill(); return 137 },
		"ended":  func(_ func(), signals chan<- guest.Signal) int { signals <- guest.TERM; return 143 },
	}
	for _, args := range []string{
		"sleep|1h", "ready|1h", "ready|0s", "late|1h|x", "lines|3|1h", "cat", "flood|1000000|both", "alloc|10", "spin",
		"both|1000", "printf|text", "listen|:1", "listen|quietly",
	} {
		for ending, end := range ends {
			t.Run(args+", "+ending, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					// Nobody reads, nobody writes.
					stdin, keyboard := io.Pipe()
					screen, stdout := io.Pipe()
					if args == "listen|quietly" {
						go func() { _, _ = io.Copy(io.Discard, screen) }()
					}
					ctx, kill := context.WithCancel(t.Context())
					defer kill()
					signals := make(chan guest.Signal, 1)
					code := make(chan int)
					go func() {
						code <- guest.Main(ctx, guest.Env{
							Args:  append([]string{guestPath}, strings.Split(args, "|")...),
							Stdin: stdin, Stdout: stdout, Stderr: stdout, Signals: signals,
							Alloc:  func(int64) error { return nil },
							Listen: newListener,
							Spin: func(ctx context.Context, _ time.Duration) error {
								<-ctx.Done()
								return nil
							},
						})
					}()
					synctest.Wait()
					assert.Equal(t, end(kill, signals), <-code)
					keyboard.Close()
					screen.Close()
				})
			})
		}
	}
}

// listener has one connection, on which nothing is ever sent.
type listener struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
	client net.Conn
}

func newListener(string, string) (net.Listener, error) {
	client, server := net.Pipe()
	l := &listener{conns: make(chan net.Conn, 1), closed: make(chan struct{}), client: client}
	l.conns <- server
	return l, nil
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *listener) Addr() net.Addr { return l.client.LocalAddr() }
