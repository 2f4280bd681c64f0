package compute

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/univirt/univirt/resource"
)

// Execer is an instance in which further processes can be started.
type Execer interface {
	Instance
	// Exec starts a process in the running instance and returns when it runs.
	// The context bounds the start, not the process. A command that is not there
	// is InvalidArgument with the field "process.command", an unknown user with
	// "process.user"; an instance whose agent has not answered yet is
	// Unavailable.
	Exec(ctx context.Context, spec ExecSpec) (Execution, error)
}

// Execution is a process that Exec started. Its methods may be called
// concurrently. It needs no closing: what it holds is released when the process
// has ended and its output is drained, whether or not somebody waits.
type Execution interface {
	// ID identifies the execution within its instance.
	ID() string
	// Wait returns how the process ended, after its output has been written. It
	// may be called many times.
	Wait(ctx context.Context) (ExecExit, error)
	// Signal sends a signal, such as "SIGTERM". To a process that has ended it is
	// NotFound.
	Signal(ctx context.Context, signal string) error
	// Resize sets the size of the process's terminal; FailedPrecondition where it
	// has none.
	Resize(ctx context.Context, size TerminalSize) error
}

// ExecExit says how an execution ended.
type ExecExit struct {
	// Known is false where the backend lost the process.
	Known bool
	// Code is the exit code, 128 plus the signal's number where a signal ended
	// the process.
	Code int
	// Signal is the name of that signal, where the backend can tell.
	Signal string
	// Cut says that a child still held the output open when Drain was over, so
	// that what it writes later is not in the output.
	Cut bool
}

// ExecSpec says what process to start.
type ExecSpec struct {
	// Process is the program. Command or Args is required: together they are the
	// argument vector. Env is added to the main process's; User and Dir default
	// to the main process's.
	Process Process
	// Stdin is read until its end or the process's; nil means empty. A read that
	// blocks for ever is given up on when the process has ended.
	Stdin io.Reader
	// Stdout and Stderr are written with the output, by one goroutine each; nil
	// discards it. With a terminal everything goes to Stdout.
	Stdout, Stderr io.Writer
	// Size is the terminal's size at the start.
	Size TerminalSize
	// Drain bounds how long output is awaited when the process has ended but a
	// child of it holds the streams open, counted from the last output; 0 means
	// DefaultDrain.
	Drain time.Duration
}

// DefaultDrain is how long output is awaited after the end of a process where
// nothing more comes.
const DefaultDrain = time.Second

// TerminalSize is the size of a terminal in characters; zero means 80 by 24.
type TerminalSize struct {
	// Width is the number of columns, Height that of rows.
	Width, Height uint16
}

// Validate reports every fault of the spec.
func (s ExecSpec) Validate() resource.Faults {
	var f resource.Faults
	f.Under("process", s.Process.Validate())
	if len(s.Process.Command)+len(s.Process.Args) == 0 {
		f.Add("process.command", "is required")
	}
	if s.Size != (TerminalSize{}) && !s.Process.TTY {
		f.Add("size", "needs process.tty")
	}
	f.AddReason("drain", checkDuration(s.Drain))
	return f
}

// Exec starts a process in an instance; errors.ErrUnsupported where it cannot.
func Exec(ctx context.Context, inst Instance, spec ExecSpec) (Execution, error) {
	e, err := extension[Execer](inst, OpExec)
	if err != nil {
		return nil, err
	}
	return e.Exec(ctx, spec)
}

// Output runs a command in an instance and returns its standard output. Where
// it ends with another code than 0 the error is an *ExitError, which has the
// end of its standard error.
func Output(ctx context.Context, inst Instance, command ...string) ([]byte, error) {
	var stdout bytes.Buffer
	err := runCommand(ctx, inst, command, &stdout)
	var exit *ExitError
	if err != nil && !errors.As(err, &exit) {
		// What still writes to the buffer must not be read from.
		return nil, err
	}
	return stdout.Bytes(), err
}

// runCommand runs a command to its end and keeps no more than the end of its
// standard error.
func runCommand(ctx context.Context, inst Instance, command []string, stdout io.Writer) error {
	stderr := &tail{most: 4 << 10}
	execution, err := Exec(ctx, inst, ExecSpec{
		Process: Process{Command: command},
		Stdout:  stdout,
		Stderr:  stderr,
	})
	if err != nil {
		return err
	}
	exit, err := execution.Wait(ctx)
	if err != nil {
		// The command must not outlive the caller's interest in it.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = execution.Signal(clean, "SIGKILL")
		return err
	}
	if !exit.Known || exit.Code != 0 {
		return &ExitError{Command: command, Exit: exit, Stderr: stderr.text}
	}
	return nil
}

// tail is a writer that keeps the end of what was written to it.
type tail struct {
	text []byte
	most int
}

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p[max(0, len(p)-t.most):]...)
	t.text = t.text[max(0, len(t.text)-t.most):]
	return len(p), nil
}

// ExitError is the error of a command that did not end with 0.
type ExitError struct {
	// Command is what was run, and Exit how it ended.
	Command []string
	Exit    ExecExit
	// Stderr is the end of its standard error.
	Stderr []byte
}

// Error says which command ended how, with the end of its standard error.
func (e *ExitError) Error() string {
	how := ending(e.Exit.Known, e.Exit.Code, e.Exit.Signal)
	if len(e.Stderr) == 0 {
		return fmt.Sprintf("%q: %s", e.Command, how)
	}
	return fmt.Sprintf("%q: %s: %q", e.Command, how, bytes.TrimSpace(e.Stderr))
}
