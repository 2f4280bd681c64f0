package providertest

import (
	"context"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
)

func waitForCases() []testCase {
	return []testCase{
		{"WaitFor an instance to be created returns where it exists", nil, waitForCreated},
		{"WaitFor an instance that does not run fails at once", nil, waitForStopped},
		{"WaitFor Running returns when it runs", nil, waitForRunning},
		{"WaitFor an agent returns when Exec works", has(compute.FeatureExec), waitForAgent},
		{"WaitFor an address of an instance without networks fails at once", nil, waitForNoAddress},
		{"WaitFor health returns when the probe passes", all(has(compute.FeatureExec), wishes("readiness.exec")), waitForHealthy},
		{"WaitFor health of an instance without a probe returns when it runs, and a machine has booted", nil, waitForNoProbe},
		{"WaitFor ends when the run does, with its exit and its last lines",
			all(has(compute.FeatureExec, compute.FeatureLogs, compute.FeatureExitCode), wishes("readiness.exec")), waitForEnded},
		{"WaitFor ends with its context", all(has(compute.FeatureExec), wishes("readiness.exec")), waitForCancelled},
		{"WaitFor an instance that is deleted meanwhile is NotFound or tells the exit", all(has(compute.FeatureExec), wishes("readiness.exec")), waitForDeleted},
	}
}

// waitFor is compute.WaitFor, which must return.
func (e *env) waitFor(inst compute.Instance, level compute.Level) (compute.Info, error) {
	e.Helper()
	var info compute.Info
	err := e.returns("WaitFor "+level.String(), func() (err error) {
		info, err = compute.WaitFor(e.ctx, inst, level)
		return err
	})
	return info, err
}

func waitForCreated(e *env) {
	info, err := e.waitFor(e.stopped("web"), compute.LevelCreated)
	require.NoError(e, err)
	require.Equal(e, compute.Stopped, info.State)
	_, err = e.waitFor(e.instances().Handle(absentID), compute.LevelCreated)
	e.fails(err, errdefs.ErrNotFound)
}

func waitForStopped(e *env) {
	_, err := e.waitFor(e.stopped("web"), compute.LevelRunning)
	e.fails(err, errdefs.ErrFailedPrecondition)
	_, err = e.waitFor(e.ended("job", "exit", "1"), compute.LevelAgent)
	e.fails(err, errdefs.ErrFailedPrecondition)
}

func waitForRunning(e *env) {
	info, err := e.waitFor(e.running("web"), compute.LevelRunning)
	require.NoError(e, err)
	require.Equal(e, compute.Running, info.State)
	require.GreaterOrEqual(e, info.Level, compute.LevelRunning)
}

func waitForAgent(e *env) {
	// Whoever makes it waits in the same way.
	inst := e.reachable()
	info, err := e.waitFor(inst, compute.LevelAgent)
	require.NoError(e, err)
	require.GreaterOrEqual(e, info.Level, compute.LevelAgent)
	require.Equal(e, "here", e.output(inst, "echo", "here"))
}

func waitForNoAddress(e *env) {
	spec := e.spec("web", "sleep", "1h")
	if rule := e.s.offer.kindDescription().Fields.Rule("networkMode"); rule.Level != 0 {
		spec.NetworkMode = compute.NetworkNone
	} else if len(e.info(e.running("probe")).Endpoints) > 0 {
		return
	}
	inst := e.create(spec)
	e.start(inst)
	_, err := e.waitFor(inst, compute.LevelAddress)
	e.fails(err, errdefs.ErrFailedPrecondition)
}

// readiness is a probe that runs a program.
func readiness(program ...string) *compute.Probe {
	return &compute.Probe{Exec: append([]string{GuestPath}, program...), Interval: 10 * time.Millisecond, Timeout: 10 * time.Second}
}

func waitForHealthy(e *env) {
	spec := e.spec("web", "sleep", "1h")
	spec.Readiness = readiness("exit", "0")
	inst := e.create(spec)
	e.start(inst)
	_, err := e.waitFor(inst, compute.LevelHealthy)
	require.NoError(e, err)
}

func waitForNoProbe(e *env) {
	begin := waysInto[compute.Running].make
	if e.s.kind() == compute.VM && e.offers(compute.FeatureExec) {
		begin = (*env).reachable
	}
	info, err := e.waitFor(begin(e), compute.LevelHealthy)
	require.NoError(e, err)
	require.Equal(e, compute.Running, info.State)
}

// neverReady makes a running instance whose readiness probe never passes.
func (e *env) neverReady(program ...string) compute.Instance {
	e.Helper()
	e.idle = true // as a probe fails in one that does not answer
	spec := e.spec("web", program...)
	spec.Readiness = readiness("exit", "1")
	inst := e.create(spec)
	e.start(inst)
	return inst
}

// noticed is an instance that tells when somebody waits for the end of its run.
type noticed struct {
	compute.Instance
	once    sync.Once
	waiting chan struct{}
}

// Unwrap leaves everything but Wait to the instance itself.
func (n *noticed) Unwrap() compute.Instance { return n.Instance }

func (n *noticed) Wait(ctx context.Context, opts compute.WaitOptions) (compute.Exit, error) {
	n.once.Do(func() { close(n.waiting) })
	return n.Instance.Wait(ctx, opts)
}

func waitForEnded(e *env) {
	inst := e.neverReady("trap", "7")
	e.awaitLine(inst, "ready")
	watched := &noticed{Instance: inst, waiting: make(chan struct{})}
	stopped := make(chan error, 1)
	go func() {
		<-watched.waiting
		stopped <- inst.Stop(e.ctx, compute.StopOptions{Grace: e.s.h.Patience})
	}()
	_, err := e.waitFor(watched, compute.LevelHealthy)
	require.NoError(e, e.returns("Stop", func() error { return <-stopped }))
	re := e.fails(err, errdefs.ErrFailedPrecondition)
	var ended *compute.EndedError
	require.ErrorAs(e, err, &ended)
	require.Equal(e, 7, ended.Exit.Code)
	require.Equal(e, []string{"ready", "trapped TERM"}, re.Logs)
	require.Contains(e, err.Error(), "trapped TERM", "the message has the last lines")
}

func waitForCancelled(e *env) {
	inst := e.neverReady("sleep", "1h")
	ctx, cancel := context.WithTimeout(e.ctx, 50*time.Millisecond)
	defer cancel()
	err := e.returns("a cancelled WaitFor", func() error {
		_, err := compute.WaitFor(ctx, inst, compute.LevelHealthy)
		return err
	})
	e.cancelled(err, context.DeadlineExceeded)
	e.inState(inst, compute.Running)
}

func waitForDeleted(e *env) {
	inst := e.neverReady("sleep", "1h")
	done := make(chan error, 1)
	go func() {
		_, err := compute.WaitFor(e.ctx, inst, compute.LevelHealthy)
		done <- err
	}()
	e.delete(inst)
	err := e.returns("WaitFor", func() error { return <-done })
	require.Error(e, err)
	require.True(e, isNotFound(err) || errdefs.IsFailedPrecondition(err), "%v", err)
}
