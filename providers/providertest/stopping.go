package providertest

import (
	"context"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

func stopCases() []testCase {
	talks := has(compute.FeatureLogs, compute.FeatureExitCode)
	return []testCase{
		{"Stop of a stopped instance is nil", nil, stopTwice},
		{"Stop asks with SIGTERM, and the exit is the program's own", talks, stopAsks("", "trapped TERM", compute.StopOptions{})},
		{"Stop asks with the spec's stop signal", all(talks, fields("stopSignal")), stopAsks("SIGUSR1", "trapped USR1", compute.StopOptions{})},
		{"Stop asks with the signal of its options rather than the spec's", all(talks, fields("stopSignal")),
			stopAsks("SIGUSR1", "trapped USR2", compute.StopOptions{Signal: "SIGUSR2"})},
		{"Stop forces when the grace is over", talks, stopForces},
		{"Stop waits for the spec's grace where its options have none", all(talks, fields("stopGrace")), stopSpecGrace},
		{"Stop by force does not ask", talks, stopByForce},
		{"A Stop with less grace pre-empts one that waits", talks, stopPreempts},
		{"A Stop by force pre-empts one that waits", talks, stopForcePreempts},
		{"A context that ends during the grace leaves a state of the table", talks, stopCancelled},
		{"After Stop the processes are gone", has(compute.FeatureLogs, compute.FeatureExec), stopEndsProcesses},
		{"Stop ends a paused instance", has(compute.FeaturePause), stopPaused},
		{"Stop of a suspended instance throws its memory away", has(compute.FeatureSuspend), stopSuspended},
		{"Stop with a revision that is not the instance's is Aborted, and it runs on", nil, stopAborted},
	}
}

func stopTwice(e *env) {
	inst := e.stopped("web")
	require.NoError(e, inst.Stop(e.ctx, compute.StopOptions{}), "Stop of an instance that never ran")
	require.Empty(e, e.info(inst).Run)
	e.start(inst)
	e.kill(inst)
	before := e.info(inst)
	require.NoError(e, inst.Stop(e.ctx, compute.StopOptions{}))
	require.NoError(e, inst.Stop(e.ctx, compute.StopOptions{Force: true}))
	after := e.info(inst)
	require.Equal(e, compute.Stopped, after.State)
	require.Equal(e, before.Run, after.Run)
	require.Equal(e, before.Exit, after.Exit)
}

func stopAsks(signal, says string, opts compute.StopOptions) func(*env) {
	return func(e *env) {
		spec := e.spec("web", "trap", "7")
		spec.StopSignal = signal
		inst := e.create(spec)
		e.start(inst)
		e.awaitLine(inst, "ready")
		opts.Grace = e.s.h.Patience
		require.NoError(e, inst.Stop(e.ctx, opts))
		info := e.info(inst)
		require.Equal(e, compute.Stopped, info.State)
		require.NotNil(e, info.Exit)
		require.Equal(e, 7, info.Exit.Code)
		require.Equal(e, []string{"ready", says}, texts(e.logs(inst, compute.LogOptions{})))
	}
}

// shortGrace is long enough to be told from none, and short enough to wait for.
const shortGrace = 300 * time.Millisecond

func stopForces(e *env) {
	inst := e.ready("web", "ignore")
	begun := time.Now()
	require.NoError(e, inst.Stop(e.ctx, compute.StopOptions{Grace: shortGrace}))
	require.GreaterOrEqual(e, time.Since(begun), shortGrace, "the grace")
	e.forced(inst)
}

// forced requires the last run to have been ended by force.
func (e *env) forced(inst compute.Instance) {
	e.Helper()
	info := e.info(inst)
	require.Equal(e, compute.Stopped, info.State)
	require.NotNil(e, info.Exit)
	require.True(e, info.Exit.Known)
	require.Equal(e, 137, info.Exit.Code)
	require.Contains(e, []string{"", "SIGKILL"}, info.Exit.Signal)
}

func stopSpecGrace(e *env) {
	spec := e.spec("web", "ignore")
	spec.StopGrace = shortGrace
	inst := e.create(spec)
	e.start(inst)
	e.awaitLine(inst, "ready")
	begun := time.Now()
	require.NoError(e, inst.Stop(e.ctx, compute.StopOptions{}))
	require.GreaterOrEqual(e, time.Since(begun), shortGrace)
	require.Less(e, time.Since(begun), compute.DefaultGrace, "the default was waited for instead of the spec's grace")
	e.forced(inst)
}

func stopByForce(e *env) {
	inst := e.ready("web", "trap", "7")
	require.NoError(e, inst.Stop(e.ctx, compute.StopOptions{Force: true}))
	e.forced(inst)
	require.Equal(e, []string{"ready"}, texts(e.logs(inst, compute.LogOptions{})))
}

func stopPreempts(e *env) { e.preempted(compute.StopOptions{Grace: shortGrace}) }

func stopForcePreempts(e *env) { e.preempted(compute.StopOptions{Force: true}) }

// preempted stops an instance that another Stop waits for.
func (e *env) preempted(second compute.StopOptions) {
	e.Helper()
	inst := e.ready("web", "signals")
	first := make(chan error, 1)
	go func() { first <- inst.Stop(e.ctx, compute.StopOptions{Signal: "SIGHUP", Grace: time.Hour}) }()
	// The program tells that the first Stop has asked.
	e.awaitLine(inst, "HUP")
	second.Signal = "SIGHUP"
	err := e.returns("the second Stop", func() error { return inst.Stop(e.ctx, second) })
	require.NoError(e, err)
	require.NoError(e, e.returns("the first Stop", func() error { return <-first }))
	e.forced(inst)
}

func stopCancelled(e *env) {
	inst := e.ready("web", "signals")
	ctx, cancel := context.WithCancel(e.ctx)
	stopped := make(chan error, 1)
	go func() { stopped <- inst.Stop(ctx, compute.StopOptions{Signal: "SIGHUP", Grace: time.Hour}) }()
	e.awaitLine(inst, "HUP")
	cancel()
	e.cancelled(e.returns("a cancelled Stop", func() error { return <-stopped }), context.Canceled)
	require.Contains(e, []compute.State{compute.Running, compute.Stopping}, e.info(inst).State)
	e.kill(inst)
	e.forced(inst)
}

func stopEndsProcesses(e *env) {
	inst := e.ready("web", "ignore")
	x, _ := e.background(inst, guestExec("ignore"))
	pid := e.info(inst).PID
	require.NoError(e, inst.Stop(e.ctx, compute.StopOptions{Force: true}))
	if pid != 0 {
		require.False(e, isGuest(pid), "the main process %d still runs after Stop", pid)
	}
	ctx, cancel := context.WithTimeout(e.ctx, e.s.h.Patience)
	defer cancel()
	exit, err := x.Wait(ctx)
	require.NoError(e, err, "the execution ends with the run")
	require.False(e, exit.Known && exit.Code == 0, "the execution ended well, though it was killed")
	e.fails(x.Signal(e.ctx, "SIGTERM"), errdefs.ErrNotFound)
}

// isGuest reports whether a process of this machine runs the test's program.
func isGuest(pid int) bool {
	line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	return err == nil && strings.HasPrefix(string(line), GuestPath)
}

func stopPaused(e *env) {
	inst := e.running("web")
	require.NoError(e, compute.Pause(e.ctx, inst))
	err := e.returns("Stop of a paused instance", func() error {
		return inst.Stop(e.ctx, compute.StopOptions{Grace: shortGrace})
	})
	require.NoError(e, err)
	e.inState(inst, compute.Stopped)
}

func stopSuspended(e *env) {
	inst := e.running("web")
	run := e.info(inst).Run
	require.NoError(e, compute.Suspend(e.ctx, inst, compute.SuspendOptions{}))
	require.NoError(e, inst.Stop(e.ctx, compute.StopOptions{}))
	e.inState(inst, compute.Stopped)
	e.start(inst)
	require.NotEqual(e, run, e.info(inst).Run, "the suspended run is over")
}

func stopAborted(e *env) {
	inst := e.running("web")
	e.fails(inst.Stop(e.ctx, compute.StopOptions{Force: true, IfRevision: "none"}), errdefs.ErrAborted)
	e.inState(inst, compute.Running)
	require.NoError(e, inst.Stop(e.ctx, compute.StopOptions{Force: true, IfRevision: e.info(inst).Revision}))
	e.inState(inst, compute.Stopped)
}

// labelsOf makes a patch that sets labels.
func labelsOf(pairs ...string) resource.LabelPatch {
	patch := resource.LabelPatch{}
	for i := 0; i < len(pairs); i += 2 {
		patch[pairs[i]] = &pairs[i+1]
	}
	return patch
}
