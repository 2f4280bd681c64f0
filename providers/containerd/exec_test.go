package containerd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/providertest/guest"
	testimage "github.com/univirt/univirt/providers/providertest/image"
	"github.com/univirt/univirt/resource"
)

// ran is what came of an execution.
type ran struct {
	out, err string
	exit     compute.ExecExit
}

func run(t *testing.T, inst compute.Instance, spec compute.ExecSpec, args ...string) ran {
	t.Helper()
	var stdout, stderr bytes.Buffer
	spec.Stdout, spec.Stderr = &stdout, &stderr
	spec.Process.Command = append([]string{testimage.Path}, args...)
	e, err := compute.Exec(t.Context(), inst, spec)
	require.NoError(t, err)
	exit, err := e.Wait(t.Context())
	require.NoError(t, err)
	return ran{stdout.String(), stderr.String(), exit}
}

func TestExec(t *testing.T) {
	p := openGuest(t, Options{})
	inst := start(t, p, func() compute.Spec {
		spec := guestSpec("a", "sleep", "1h")
		spec.Process.Env = map[string]string{"MAIN": "1"}
		return spec
	}())
	known := func(code int) compute.ExecExit { return compute.ExecExit{Known: true, Code: code} }
	for name, c := range map[string]struct {
		spec compute.ExecSpec
		args []string
		want ran
	}{
		"streams are told apart": {args: []string{"both", "2"}, want: ran{"out 1\nout 2\n", "err 1\nerr 2\n", known(0)}},
		"exit code":              {args: []string{"exit", "42"}, want: ran{"", "", known(42)}},
		"signal":                 {args: []string{"die", "KILL"}, want: ran{"", "", known(137)}},
		"input": {spec: compute.ExecSpec{Stdin: strings.NewReader("some input")},
			args: []string{"cat"}, want: ran{"some input", "", known(0)}},
		"no input":                        {args: []string{"cat"}, want: ran{"", "", known(0)}},
		"environment of the main process": {args: []string{"env", "MAIN"}, want: ran{"1\n", "", known(0)}},
		"environment of its own": {spec: compute.ExecSpec{Process: compute.Process{Env: map[string]string{"MAIN": "2"}}},
			args: []string{"env", "MAIN"}, want: ran{"2\n", "", known(0)}},
		"user": {spec: compute.ExecSpec{Process: compute.Process{User: "user"}},
			args: []string{"id"}, want: ran{"uid=1000 gid=1000 groups=1000,2000\n", "", known(0)}},
		"user by number": {spec: compute.ExecSpec{Process: compute.Process{User: "7:8"}},
			args: []string{"id"}, want: ran{"uid=7 gid=8 groups=8\n", "", known(0)}},
		"directory": {spec: compute.ExecSpec{Process: compute.Process{Dir: "/bin"}},
			args: []string{"pwd"}, want: ran{"/bin\n", "", known(0)}},
		"terminal": {spec: compute.ExecSpec{Process: compute.Process{TTY: true}, Size: compute.TerminalSize{Width: 100, Height: 30}},
			args: []string{"tty"}, want: ran{"stdin=true stdout=true stderr=true\r\nsize=100x30\r\n", "", known(0)}},
		"terminal of no size": {spec: compute.ExecSpec{Process: compute.Process{TTY: true}},
			args: []string{"tty"}, want: ran{"stdin=true stdout=true stderr=true\r\nsize=80x24\r\n", "", known(0)}},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, c.want, run(t, inst, c.spec, c.args...)) })
	}
	for name, c := range map[string]struct {
		process compute.Process
		field   string
	}{
		"no such program":   {compute.Process{Command: []string{"/none"}}, "process.command"},
		"no such name":      {compute.Process{Command: []string{"none"}}, "process.command"},
		"not executable":    {compute.Process{Command: []string{"/etc/passwd"}}, "process.command"},
		"a folder":          {compute.Process{Command: []string{"/etc"}}, "process.command"},
		"no such user":      {compute.Process{Command: []string{testimage.Path}, User: "ghost"}, "process.user"},
		"no such group":     {compute.Process{Command: []string{testimage.Path}, User: "0:ghosts"}, "process.user"},
		"no such directory": {compute.Process{Command: []string{testimage.Path}, Dir: "/none"}, "process.dir"},
		"no command":        {compute.Process{}, "process.command"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := compute.Exec(t.Context(), inst, compute.ExecSpec{Process: c.process})
			field(t, err, errdefs.ErrInvalidArgument, c.field)
		})
	}
	left, err := filepath.Glob(filepath.Join(p.state.fifos(), p.owner.Generation, "*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestExecNeedsARun(t *testing.T) {
	p := openGuest(t, Options{})
	inst := create(t, p, guestSpec("a", "sleep", "1h"))
	spec := compute.ExecSpec{Process: compute.Process{Command: []string{testimage.Path, "pid"}}}
	forbidden := func(state string) {
		t.Helper()
		_, err := compute.Exec(t.Context(), inst, spec)
		require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
		assert.ErrorContains(t, err, state)
	}
	forbidden("stopped")
	require.NoError(t, inst.Start(t.Context(), compute.StartOptions{}))
	require.NoError(t, compute.Pause(t.Context(), inst))
	forbidden("paused")
	require.NoError(t, compute.Resume(t.Context(), inst))
	_, err := compute.Exec(t.Context(), inst, spec)
	require.NoError(t, err)
	_, err = compute.Exec(t.Context(), p.Instances().Handle(resource.NewID()), spec)
	require.ErrorIs(t, err, errdefs.ErrNotFound)
}

func TestExecSignalAndResize(t *testing.T) {
	p := openGuest(t, Options{})
	inst := start(t, p, guestSpec("a", "sleep", "1h"))
	ctx := t.Context()
	reader, writer := io.Pipe()
	e, err := compute.Exec(ctx, inst, compute.ExecSpec{
		Process: compute.Process{Command: []string{testimage.Path, "tty", "watch"}, TTY: true}, Stdout: writer})
	require.NoError(t, err)
	read := func(want string) {
		t.Helper()
		buf := make([]byte, len(want))
		_, err := io.ReadFull(reader, buf)
		require.NoError(t, err)
		require.Equal(t, want, string(buf))
	}
	read("stdin=true stdout=true stderr=true\r\nsize=80x24\r\n")
	require.NoError(t, e.Resize(ctx, compute.TerminalSize{Width: 10, Height: 20}))
	read("size=10x20\r\n")
	require.NoError(t, e.Signal(ctx, "SIGTERM"))
	exit, err := e.Wait(ctx)
	require.NoError(t, err)
	assert.Equal(t, compute.ExecExit{Known: true, Code: 143}, exit)
	require.ErrorIs(t, e.Signal(ctx, "SIGTERM"), errdefs.ErrNotFound)
	field(t, e.Signal(ctx, "NONE"), errdefs.ErrInvalidArgument, "signal")

	e, err = compute.Exec(ctx, inst, compute.ExecSpec{Process: compute.Process{Command: []string{testimage.Path, "sleep", "1h"}}})
	require.NoError(t, err)
	require.ErrorIs(t, e.Resize(ctx, compute.TerminalSize{}), errdefs.ErrFailedPrecondition)
	short, cancel := context.WithCancel(ctx)
	cancel()
	_, err = e.Wait(short)
	require.ErrorIs(t, err, context.Canceled)
	// The end of the run is the end of what runs in it.
	require.NoError(t, inst.Stop(ctx, compute.StopOptions{Force: true}))
	exit, err = e.Wait(ctx)
	require.NoError(t, err)
	assert.True(t, !exit.Known || exit.Code == 137, exit)
}

// TestExecBackgroundChild has a child that holds the output for longer than its
// parent lives.
func TestExecBackgroundChild(t *testing.T) {
	p := openGuest(t, Options{})
	inst := start(t, p, guestSpec("a", "sleep", "1h"))
	begun := time.Now()
	r := run(t, inst, compute.ExecSpec{Drain: 200 * time.Millisecond}, "background", "1h")
	assert.True(t, r.exit.Cut)
	assert.Equal(t, 0, r.exit.Code)
	assert.Less(t, time.Since(begun), 5*time.Second)
	r = run(t, inst, compute.ExecSpec{}, "echo", "x")
	assert.Equal(t, ran{"x\n", "", compute.ExecExit{Known: true}}, r)
}

// TestExecOutputUnderLoad counts every byte of a lot of output while all
// processors are busy.
func TestExecOutputUnderLoad(t *testing.T) {
	p := openGuest(t, Options{})
	inst := start(t, p, guestSpec("a", "sleep", "1h"))
	for range 3 {
		e, err := compute.Exec(t.Context(), inst, compute.ExecSpec{Process: compute.Process{Command: []string{testimage.Path, "spin", "1h"}}})
		require.NoError(t, err)
		defer func() {
			require.NoError(t, e.Signal(context.Background(), "SIGKILL"))
		}()
	}
	const size = 10 << 20
	var want bytes.Buffer
	_, err := io.Copy(&want, guest.Flood("stdout", size))
	require.NoError(t, err)
	r := run(t, inst, compute.ExecSpec{}, "flood", "10485760", "stdout")
	assert.Equal(t, compute.ExecExit{Known: true}, r.exit)
	assert.True(t, want.String() == r.out, "%d of %d bytes", len(r.out), size)
	for range 20 {
		assert.Equal(t, "x\n", run(t, inst, compute.ExecSpec{}, "echo", "x").out)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("broken") }

func TestExecWriterThatFails(t *testing.T) {
	p := openGuest(t, Options{})
	inst := start(t, p, guestSpec("a", "sleep", "1h"))
	e, err := compute.Exec(t.Context(), inst, compute.ExecSpec{
		Process: compute.Process{Command: []string{testimage.Path, "flood", "1000000"}}, Stdout: brokenWriter{}})
	require.NoError(t, err)
	exit, err := e.Wait(t.Context())
	assert.ErrorContains(t, err, "broken")
	assert.Equal(t, compute.ExecExit{Known: true}, exit)
}

func TestExecEndsWithTheProvider(t *testing.T) {
	p := openGuest(t, Options{})
	other, err := New(t.Context(), Options{Address: p.opts.Address, Namespace: p.opts.Namespace})
	require.NoError(t, err)
	start(t, p, guestSpec("a", "sleep", "1h"))
	inst, err := other.Instances().Get(t.Context(), "a")
	require.NoError(t, err)
	e, err := compute.Exec(t.Context(), inst, compute.ExecSpec{Process: compute.Process{Command: []string{testimage.Path, "cat"}}, Stdin: blocked{}})
	require.NoError(t, err)
	require.NoError(t, other.Close())
	_, err = e.Wait(t.Context())
	require.ErrorIs(t, err, resource.ErrClosed)
	require.ErrorIs(t, e.Signal(t.Context(), "SIGTERM"), resource.ErrClosed)
	_, err = os.Stat(filepath.Join(other.state.fifos(), other.owner.Generation))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// blocked is a reader that never returns.
type blocked struct{}

func (blocked) Read([]byte) (int, error) { select {} }
