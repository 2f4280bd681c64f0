package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"sync"
)

// process is one run of a sub command: its environment, with streams that stop
// working when the program is over.
type process struct {
	env            Env
	signals        <-chan Signal
	stdin          io.Reader
	stdout, stderr io.Writer

	mu     sync.Mutex
	over   bool // the program has ended: streams refuse
	inside int  // calls that are in a stream now
	broken bool // a write has failed
}

func newProcess(env Env) *process {
	if env.Dir == "" {
		env.Dir = "/"
	}
	if env.Stdin == nil {
		env.Stdin = bytes.NewReader(nil)
	}
	if env.Stdout == nil {
		env.Stdout = io.Discard
	}
	if env.Stderr == nil {
		env.Stderr = io.Discard
	}
	p := &process{env: env}
	p.stdin = &stream{p: p, r: env.Stdin}
	p.stdout = &stream{p: p, w: env.Stdout}
	p.stderr = &stream{p: p, w: env.Stderr}
	return p
}

// live runs the sub command until it returns or the program is ended from
// outside. The command has a goroutine of its own so that a signal ends it also
// while it is blocked in a stream.
func (p *process) live(ctx context.Context, c command, args []string) int {
	run, signals := c.run, p.env.Signals
	if c.handle != nil {
		run, p.signals, signals = c.handle, signals, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan int, 1)
	go func() { done <- run(ctx, p, args) }()

	code := 0
	for ended := false; !ended; {
		select {
		case code = <-done:
			return p.verdict(ctx, code)
		case <-ctx.Done():
			code, ended = ExitKilled, true
		case sig, ok := <-signals:
			if !ok {
				signals = nil
			} else if !sig.harmless() {
				code, ended = sig.ExitCode(), true
			}
		}
	}
	cancel()
	if p.end() {
		<-done
	}
	return code
}

// verdict corrects the code of a command that has returned by itself.
func (p *process) verdict(ctx context.Context, code int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return ExitKilled
	case p.broken:
		return PIPE.ExitCode()
	}
	return code
}

// end shuts the streams and reports whether the command is outside of them, so
// that it will return soon.
func (p *process) end() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	return p.inside == 0
}

var errOver = errors.New("the program has ended")

// stream is a standard stream that refuses calls once the program is over, and
// remembers a failed write.
type stream struct {
	p *process
	r io.Reader
	w io.Writer
}

func (s *stream) enter() bool {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if s.p.over {
		return false
	}
	s.p.inside++
	return true
}

func (s *stream) leave(broken bool) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.p.inside--
	s.p.broken = s.p.broken || broken
}

func (s *stream) Read(b []byte) (int, error) {
	if !s.enter() {
		return 0, errOver
	}
	n, err := s.r.Read(b)
	s.leave(false)
	return n, err
}

func (s *stream) Write(b []byte) (int, error) {
	if !s.enter() {
		return 0, errOver
	}
	n, err := s.w.Write(b)
	s.leave(err != nil)
	return n, err
}

// printf writes to standard output and reports whether that worked. A program
// whose output is broken ends with PIPE's code whatever it returns.
func (p *process) printf(format string, args ...any) bool {
	_, err := fmt.Fprintf(p.stdout, format, args...)
	return err == nil
}

// fail says why a sub command failed and returns its exit code.
func (p *process) fail(err error) int {
	fmt.Fprintf(p.stderr, "guest %s: %v\n", p.env.Args[1], err)
	return 1
}

// misused says what is wrong with an argument.
func (p *process) misused(what, arg string) int {
	fmt.Fprintf(p.stderr, "guest %s: bad %s %q\n", p.env.Args[1], what, arg)
	return ExitUsage
}

func (p *process) unsupported() int {
	fmt.Fprintf(p.stderr, "guest %s: not supported by this environment\n", p.env.Args[1])
	return ExitUnsupported
}

// next waits for a signal; false says that the program is ended.
func (p *process) next(ctx context.Context) (Signal, bool) {
	for {
		select {
		case <-ctx.Done():
			return "", false
		case sig, ok := <-p.signals:
			if ok {
				return sig, true
			}
			p.signals = nil
		}
	}
}

// path makes an argument absolute.
func (p *process) path(arg string) string {
	if path.IsAbs(arg) {
		return path.Clean(arg)
	}
	return path.Join(p.env.Dir, arg)
}
