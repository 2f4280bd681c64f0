package providertest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
)

func execCases() []testCase {
	exec := has(compute.FeatureExec)
	signal := has(compute.FeatureExec, compute.FeatureExecSignal)
	tty := has(compute.FeatureExec, compute.FeatureExecTTY)
	return []testCase{
		{"Exec returns when the process runs, and Wait its exit code", exec, execExitCode},
		{"Exec of a command that is not there is InvalidArgument and names process.command", exec, execMissing},
		{"Exec of a command that cannot be executed is InvalidArgument", exec, execNotExecutable},
		{"Exec as an unknown user is InvalidArgument and names process.user", has(compute.FeatureExec, compute.FeatureExecUser), execUnknownUser},
		{"Exec looks a command up in the PATH", exec, execPath},
		{"Exec keeps the main process' environment and adds to it", all(exec, fields("process.env")), execEnv},
		{"Exec runs in the main process' directory as its user, or where it is told", all(exec, fields("process.dir")), execDir},
		{"Exec runs as the user that is asked for", has(compute.FeatureExec, compute.FeatureExecUser), execUser},
		{"Wait for an execution may be called many times, and by many", exec, execWaits},
		{"A Wait for an execution that is cancelled leaves it alone", exec, execWaitCancelled},
		{"Signal reaches the process", signal, execSignal},
		{"A process that a signal ends has 128 and the signal's number as exit code", signal, execKilled},
		{"Signal to a process that has ended is NotFound", signal, execSignalEnded},
		{"Signal that is none is InvalidArgument", signal, execSignalMalformed},
		{"The end of the run ends its executions", exec, execEndsWithRun},
		{"Executions have identities", exec, execIDs},
		{"Many executions run at the same time", exec, execMany},
		{"Input is read to its end", has(compute.FeatureExec, compute.FeatureExecStdin), execStdin},
		{"Without input a process sees its end at once", exec, execNoStdin},
		{"An input that never ends does not keep an execution from ending", has(compute.FeatureExec, compute.FeatureExecStdin), execStdinBlocks},
		{"A terminal has its size, and a resize is told", tty, execTerminal},
		{"A terminal joins the streams", tty, execTerminalJoins},
		{"Resize without a terminal is FailedPrecondition", exec, execResizeNoTerminal},
		{"Another provider value can execute as well", exec, execOther},
	}
}

func execExitCode(e *env) {
	inst := e.reachable()
	for _, code := range []int{0, 1, 42, 255} {
		r := e.exec(inst, "exit", fmt.Sprint(code))
		require.Equal(e, code, r.exit.Code)
		require.Empty(e, r.exit.Signal)
		require.False(e, r.exit.Cut)
		require.Empty(e, r.stdout)
		require.Empty(e, r.stderr)
	}
	e.inState(inst, compute.Running)
}

// execFails requires Exec to be refused, and the instance to be usable on.
func (e *env) execFails(inst compute.Instance, spec compute.ExecSpec, field string) {
	e.Helper()
	err := e.returns("Exec", func() error {
		_, err := e.launch(e.ctx, inst, spec)
		return err
	})
	re := e.failsField(err, errdefs.ErrInvalidArgument, field)
	require.Equal(e, "exec", re.Op)
	require.Equal(e, "here", e.output(inst, "echo", "here"))
}

func execMissing(e *env) {
	inst := e.reachable()
	for _, command := range []string{"/bin/no-such-program", "no-such-program", "/etc/passwd/x"} {
		e.execFails(inst, compute.ExecSpec{Process: compute.Process{Command: []string{command}}}, "process.command")
	}
}

func execNotExecutable(e *env) {
	inst := e.reachable()
	for _, command := range []string{"/etc/passwd", "/bin"} {
		e.execFails(inst, compute.ExecSpec{Process: compute.Process{Command: []string{command}}}, "process.command")
	}
}

func execUnknownUser(e *env) {
	spec := guestExec("id")
	spec.Process.User = "nobody-such"
	e.execFails(e.reachable(), spec, "process.user")
}

func execPath(e *env) {
	r := e.execSpec(e.reachable(), compute.ExecSpec{Process: compute.Process{Command: []string{"guest", "exit", "9"}}})
	require.Equal(e, 9, r.exit.Code)
}

func execEnv(e *env) {
	spec := e.spec("web", "sleep", "1h")
	spec.Process.Env = map[string]string{"MAIN": "main", "BOTH": "main"}
	inst := e.create(spec)
	e.start(inst)
	x := guestExec("env")
	x.Process.Env = map[string]string{"OWN": "own", "BOTH": "own"}
	lines := strings.Split(e.execSpec(inst, x).stdout, "\n")
	require.Subset(e, lines, []string{"MAIN=main", "BOTH=own", "OWN=own"})
	require.NotContains(e, lines, "BOTH=main")
}

func execDir(e *env) {
	spec := e.spec("web", "sleep", "1h")
	spec.Process.Dir = "/bin"
	inst := e.create(spec)
	e.start(inst)
	require.Equal(e, "/bin", e.output(inst, "pwd"))
	x := guestExec("pwd")
	x.Process.Dir = "/etc"
	require.Equal(e, "/etc\n", e.execSpec(inst, x).stdout)
}

func execUser(e *env) {
	inst := e.reachable()
	for user, want := range map[string]string{
		"": "uid=0 gid=0 ", GuestUser: "uid=1000 gid=1000 ", "1234:56": "uid=1234 gid=56 ",
	} {
		x := guestExec("id")
		x.Process.User = user
		require.True(e, strings.HasPrefix(e.execSpec(inst, x).stdout, want), "as %q", user)
	}
}

func execWaits(e *env) {
	x, err := e.launch(e.ctx, e.reachable(), guestExec("exit", "3"))
	require.NoError(e, err)
	for _, err := range e.together(crowd, func(int) error {
		exit, err := x.Wait(e.ctx)
		if err == nil && exit.Code != 3 {
			err = fmt.Errorf("the exit is %+v", exit)
		}
		return err
	}) {
		require.NoError(e, err)
	}
	exit, err := x.Wait(e.ctx)
	require.NoError(e, err)
	require.Equal(e, 3, exit.Code)
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	_, err = x.Wait(ctx)
	e.cancelled(err, context.Canceled)
}

func execWaitCancelled(e *env) {
	inst := e.reachable()
	x, _ := e.background(inst, guestExec("trap", "3"))
	ctx, cancel := context.WithTimeout(e.ctx, 10*time.Millisecond)
	defer cancel()
	_, err := x.Wait(ctx)
	e.cancelled(err, context.DeadlineExceeded)
	if e.offers(compute.FeatureExecSignal) {
		require.NoError(e, x.Signal(e.ctx, "SIGTERM"))
		exit, err := x.Wait(e.ctx)
		require.NoError(e, err)
		require.Equal(e, 3, exit.Code)
	}
}

func execSignal(e *env) {
	x, out := e.background(e.reachable(), guestExec("signals"))
	for _, signal := range []string{"SIGUSR1", "HUP", "12", "SIGTERM"} {
		before := strings.Count(out.String(), "\n")
		require.NoError(e, x.Signal(e.ctx, signal), signal)
		// Signals of different kinds may overtake each other.
		e.eventually("the signal arrives", func() bool { return strings.Count(out.String(), "\n") > before })
	}
	exit, err := x.Wait(e.ctx)
	require.NoError(e, err)
	require.Zero(e, exit.Code)
	require.Equal(e, "ready\nUSR1\nHUP\nUSR2\nTERM\n", out.String())
}

func execKilled(e *env) {
	inst := e.reachable()
	for signal, code := range map[string]int{"SIGKILL": 137, "SIGTERM": 143} {
		// What has printed a line handles signals by then.
		x, _ := e.background(inst, guestExec("ready", "0s"))
		require.NoError(e, x.Signal(e.ctx, signal))
		exit := e.execWait(x)
		require.Equal(e, code, exit.Code)
		require.Contains(e, []string{"", signal}, exit.Signal)
	}
}

func execSignalEnded(e *env) {
	x, err := e.launch(e.ctx, e.reachable(), guestExec("exit", "0"))
	require.NoError(e, err)
	_, err = x.Wait(e.ctx)
	require.NoError(e, err)
	e.fails(x.Signal(e.ctx, "SIGTERM"), errdefs.ErrNotFound)
}

func execSignalMalformed(e *env) {
	x, _ := e.background(e.reachable(), guestExec("trap"))
	for _, signal := range []string{"", "SIGNOTHING", "0", "-9", "65"} {
		e.failsField(x.Signal(e.ctx, signal), errdefs.ErrInvalidArgument, "signal")
	}
	require.NoError(e, x.Signal(e.ctx, "SIGTERM"))
	_, err := x.Wait(e.ctx)
	require.NoError(e, err)
}

func execEndsWithRun(e *env) {
	inst := e.running("web")
	x, _ := e.background(inst, guestExec("ignore"))
	e.kill(inst)
	exit := e.execWait(x)
	require.False(e, exit.Known && exit.Code == 0, "%+v", exit)
}

// execWait waits for the end of an execution, which must come.
func (e *env) execWait(x compute.Execution) compute.ExecExit {
	e.Helper()
	var exit compute.ExecExit
	err := e.returns("the execution", func() (err error) {
		exit, err = x.Wait(e.ctx)
		return err
	})
	require.NoError(e, err)
	return exit
}

func execIDs(e *env) {
	inst := e.reachable()
	seen := map[string]bool{}
	for range 3 {
		x, err := e.launch(e.ctx, inst, guestExec("exit", "0"))
		require.NoError(e, err)
		require.NotEmpty(e, x.ID())
		require.False(e, seen[x.ID()], "two executions have one identity")
		seen[x.ID()] = true
		e.execWait(x)
	}
}

func execMany(e *env) {
	inst := e.reachable()
	outputs := make([]string, crowd)
	for _, err := range e.together(crowd, func(i int) error {
		out, err := compute.Output(e.ctx, inst, GuestPath, "echo", fmt.Sprint("number ", i))
		outputs[i] = string(out)
		return err
	}) {
		require.NoError(e, err)
	}
	for i, out := range outputs {
		require.Equal(e, fmt.Sprintf("number %d\n", i), out)
	}
}

func execStdin(e *env) {
	inst := e.reachable()
	for _, input := range []string{"", "text\n", "no newline", strings.Repeat("0123456789abcdef", 64<<10), "\x00\x01\xff\n"} {
		spec := guestExec("cat")
		spec.Stdin = strings.NewReader(input)
		r := e.execSpec(inst, spec)
		require.Zero(e, r.exit.Code)
		require.Equal(e, len(input), len(r.stdout))
		require.True(e, input == r.stdout, "the output of cat differs from its input")
	}
}

func execNoStdin(e *env) {
	r := e.exec(e.reachable(), "cat")
	require.Zero(e, r.exit.Code)
	require.Empty(e, r.stdout)
}

func execStdinBlocks(e *env) {
	inst := e.reachable()
	r, w := io.Pipe()
	// A pipe that nobody writes to blocks its reader until it is closed.
	defer func() { require.NoError(e, w.Close()) }()
	spec := guestExec("exit", "4")
	spec.Stdin = r
	x, err := e.launch(e.ctx, inst, spec)
	require.NoError(e, err)
	require.Equal(e, 4, e.execWait(x).Code)
}

func execTerminal(e *env) {
	spec := guestExec("tty", "watch")
	spec.Process.TTY = true
	spec.Size = compute.TerminalSize{Width: 101, Height: 37}
	inst := e.running("web")
	x, out := e.background(inst, spec)
	shows := func(text string) {
		e.Helper()
		e.eventually("the terminal shows "+text, func() bool { return strings.Contains(out.String(), text) })
	}
	shows("stdin=true stdout=true stderr=true")
	shows("size=101x37")
	require.NoError(e, x.Resize(e.ctx, compute.TerminalSize{Width: 60, Height: 20}))
	shows("size=60x20")
	e.kill(inst)
	e.execWait(x)
}

func execTerminalJoins(e *env) {
	spec := guestExec("both", "2")
	spec.Process.TTY = true
	r := e.execSpec(e.reachable(), spec)
	require.Empty(e, r.stderr)
	require.Equal(e, "err 1\r\nout 1\r\nerr 2\r\nout 2\r\n", r.stdout)
}

func execResizeNoTerminal(e *env) {
	inst := e.reachable()
	x, _ := e.background(inst, guestExec("trap"))
	e.fails(x.Resize(e.ctx, compute.TerminalSize{Width: 60, Height: 20}), errdefs.ErrFailedPrecondition)
	e.end(inst, x)
}

func execOther(e *env) {
	inst := e.reachable()
	other := e.open(OpenOptions{Namespace: e.info(inst).Ref.Namespace}).Instances().Handle(inst.ID())
	require.Equal(e, "here", e.output(other, "echo", "here"))
	var out bytes.Buffer
	spec := guestExec("echo", "there")
	spec.Stdout = &out
	x, err := e.launch(e.ctx, other, spec)
	require.NoError(e, err)
	e.execWait(x)
	require.Equal(e, "there\n", out.String())
}
