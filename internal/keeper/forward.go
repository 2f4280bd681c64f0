package keeper

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/univirt/univirt/internal/forward"
)

// ForwardOptions describe ports of the host that are forwarded for as long as a
// process runs, which may be started after they are taken.
type ForwardOptions struct {
	// File is the absolute path of a file that is made, and locked for as long as the
	// ports are taken. It holds the ports, a line each, and stays. Required.
	File string
	// Name says to those who list processes whose ports they are. Required.
	Name string
	// Mark is a word of the command line of the process that the ports are for.
	// Required.
	Mark string
	// Namespace is the path of the network namespace that is forwarded to; empty is
	// the caller's.
	Namespace string
	// Rules are the ports.
	Rules []forward.Rule
}

// Forward is a helper that has taken ports, and ends with this process until it
// follows another.
type Forward struct {
	// Ports are those that were taken, in the order of the rules.
	Ports []uint16
	in    *os.File
	out   *os.File
	lines *bufio.Reader
}

// ErrForwarded says that another helper holds the file.
var ErrForwarded = errors.New("the ports are forwarded already")

// TakenError says that a port cannot be taken.
type TakenError struct {
	// Rule is the index of the rule.
	Rule int
	// Err is the reason, a syscall.Errno as a rule.
	Err error
}

// Error implements error.
func (e *TakenError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *TakenError) Unwrap() error { return e.Err }

// answerTime bounds how long a helper takes for an answer.
const answerTime = 10 * time.Second

// StartForward has the helper at path take ports: all or none. It is nobody's child.
func StartForward(ctx context.Context, path string, o ForwardOptions) (_ *Forward, err error) {
	if err := errors.Join(checkPath("path", path), checkPath("File", o.File)); err != nil {
		return nil, fmt.Errorf("keeper: forward: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	args := []string{"role", "forward", "file", o.File, "name", o.Name, "mark", o.Mark}
	if o.Namespace != "" {
		args = append(args, "namespace", o.Namespace)
	}
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, theirIn.Close(), in.Close())
	}
	f := &Forward{in: in, out: out, lines: bufio.NewReader(out)}
	defer func() {
		if err != nil {
			f.Abandon()
		}
	}()
	cmd := exec.Command(path, args...)
	cmd.Stdin, cmd.Stdout = theirIn, theirOut
	err = cmd.Run() // the child starts what goes on, and ends
	_, _ = theirIn.Close(), theirOut.Close()
	if err != nil {
		return nil, fmt.Errorf("keeper: forward: %w", err)
	}
	var text strings.Builder
	for _, r := range o.Rules {
		fmt.Fprintf(&text, "%s %s", r.Protocol, r.Listen)
		for _, to := range r.To {
			fmt.Fprintf(&text, " %s", to)
		}
		text.WriteByte('\n')
	}
	answer, err := f.ask(ctx, text.String()+"\n", "taken")
	if err != nil {
		return nil, err
	}
	for _, field := range answer {
		port, err := strconv.ParseUint(field, 10, 16)
		if err != nil {
			return nil, err
		}
		f.Ports = append(f.Ports, uint16(port))
	}
	if len(f.Ports) != len(o.Rules) {
		return nil, fmt.Errorf("keeper: forward: %d ports for %d rules", len(f.Ports), len(o.Rules))
	}
	return f, nil
}

// Follow has the helper forward until the process has ended, whatever becomes of this
// one. A process that is gone, or has not the mark, is an error, and the ports are
// given back.
func (f *Forward) Follow(ctx context.Context, pid int) error {
	_, err := f.ask(ctx, strconv.Itoa(pid)+"\n", "ok")
	if err != nil {
		f.Abandon()
		return err
	}
	_, _ = f.in.Close(), f.out.Close()
	return nil
}

// leaveTime bounds how long the end of a helper is awaited that has nothing to do.
const leaveTime = time.Second

// Abandon gives the ports back: the helper is gone when it returns, unless it hangs.
func (f *Forward) Abandon() {
	_ = f.in.Close()
	_ = f.out.SetReadDeadline(time.Now().Add(leaveTime))
	_, _ = io.Copy(io.Discard, f.out)
	_ = f.out.Close()
}

// ask tells the helper something and returns the words behind that of its answer.
func (f *Forward) ask(ctx context.Context, text, want string) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	_ = f.out.SetReadDeadline(time.Now().Add(answerTime))
	stop := context.AfterFunc(ctx, func() { _ = f.out.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	_, wrote := io.WriteString(f.in, text)
	line, err := f.lines.ReadString('\n')
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("keeper: forward: no answer: %w", errors.Join(wrote, err))
	}
	words := strings.Fields(line)
	switch {
	case len(words) > 0 && words[0] == want:
		return words[1:], nil
	case len(words) == 1 && words[0] == "held":
		return nil, ErrForwarded
	case len(words) > 3 && words[0] == "fail":
		number, err1 := strconv.Atoi(words[1])
		rule, err2 := strconv.Atoi(words[2])
		if err1 == nil && err2 == nil && number != 0 {
			return nil, &TakenError{rule, syscall.Errno(number)}
		}
	}
	return nil, fmt.Errorf("keeper: forward: %s", strings.TrimSpace(line))
}

// ForwardedPorts are those in the content of the file of a helper that forwards.
func ForwardedPorts(content []byte) (ports []uint16) {
	for field := range strings.FieldsSeq(string(content)) {
		port, err := strconv.ParseUint(field, 10, 16)
		if err != nil {
			return nil
		}
		ports = append(ports, uint16(port))
	}
	return ports
}
