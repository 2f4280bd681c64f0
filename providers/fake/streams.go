package fake

import (
	"bytes"
	"io"
)

// sink is where output goes: a pipe to somebody who reads it, or a run's log.
type sink interface {
	// write takes all of b, unless stop is closed first or nobody wants it.
	write(b []byte, stop <-chan struct{}) (int, error)
	// join and leave count those who may still write.
	join()
	leave()
}

// streams are the standard streams of a process; nil is an empty input and a
// discarded output.
type streams struct {
	in       *pipe
	out, err sink
}

func (s streams) join() {
	if s.out != nil {
		s.out.join()
	}
	if s.err != nil {
		s.err.join()
	}
}

func (s streams) leave() {
	if s.out != nil {
		s.out.leave()
	}
	if s.err != nil {
		s.err.leave()
	}
	if s.in != nil {
		s.in.breakOff()
	}
}

// stream is a standard stream as a process has it: it stands still while the
// instance is paused, and fails once the process has ended.
type stream struct {
	p    *Process
	from *pipe
	to   sink
}

var (
	_ io.Reader = stream{}
	_ io.Writer = stream{}
)

// Read reads standard input.
func (s stream) Read(b []byte) (int, error) {
	if err := s.p.pass(); err != nil {
		return 0, err
	}
	if s.from == nil {
		return 0, io.EOF
	}
	n, err := s.from.read(b, s.p.ctx.Done())
	if s.p.pass() != nil {
		return 0, errEnded
	}
	return n, err
}

// Write writes standard output or error.
func (s stream) Write(b []byte) (int, error) {
	if err := s.p.pass(); err != nil {
		return 0, err
	}
	if s.to == nil {
		return len(b), nil
	}
	if !s.p.TTY || bytes.IndexByte(b, '\n') < 0 {
		return s.to.write(b, s.p.ctx.Done())
	}
	// A terminal makes a line feed a carriage return as well.
	if _, err := s.to.write(bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")), s.p.ctx.Done()); err != nil {
		return 0, err
	}
	return len(b), nil
}
