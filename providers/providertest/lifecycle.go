package providertest

import (
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

func lifecycleCases() []testCase {
	return []testCase{
		{"Create makes an instance and leaves it Stopped", nil, createStopped},
		{"Create fills in the provider's choices and keeps what was asked for", nil, createKeepsSpec},
		{"Create records the image's digest", hook("Image"), createRecordsDigest},
		{"Start returns when the instance is Running", nil, startRuns},
		{"Start of a running instance is nil and begins no other run", nil, startTwice},
		{"A program that ends leaves the instance Stopped, with its exit code", has(compute.FeatureExitCode), exitCode},
		{"A program that a signal ends has 128 and the signal's number as exit code", has(compute.FeatureExitCode), exitSignal},
		{"A program that succeeds at once is a run that ended well", has(compute.FeatureExitCode), exitAtOnce},
		{"A start after the end of a run begins another run", nil, startAgain},
		{"A command that is not in the image is InvalidArgument at Start, and the instance stays as it was", fields("process.command"), missingCommand},
		{"A command that cannot be executed is InvalidArgument at Start", fields("process.command"), notExecutable},
		{"A command is looked up in the PATH", all(fields("process.command"), has(compute.FeatureExitCode)), commandInPath},
		{"The instance can start after a failed start", nil, startAfterFailure},
		{"A program that exceeds its memory is ended for want of it", all(has(compute.FeatureExitOOM), fields("resources.memory")), outOfMemory},
		{"Delete removes a stopped instance", nil, deleteStopped},
		{"Delete of a running instance is FailedPrecondition, and it runs on", nil, deleteRunning},
		{"Delete by force ends the run", nil, deleteForce},
		{"Delete of an instance that is gone is NotFound", nil, deleteTwice},
		{"Info tells when the instance was made, and when its run began and ended", nil, infoTimes},
		{"Restart ends the run under way and begins another", nil, restartRunning},
		{"A paused instance makes no progress, and goes on after Resume", has(compute.FeaturePause, compute.FeatureLogs), pauseStops},
		{"Suspend keeps the run, and Start resumes it", has(compute.FeatureSuspend), suspendResume},
		{"Reset restarts the guest within the run", has(compute.FeatureReset), resetKeepsRun},
	}
}

func createStopped(e *env) {
	before := time.Now()
	inst := e.stopped("web")
	info := e.info(inst)
	require.Equal(e, compute.Stopped, info.State)
	require.Equal(e, e.s.kind(), info.Kind)
	require.True(e, info.Managed, "Managed")
	e.wellFormedRef(info.Ref, resource.KindInstance)
	require.Equal(e, "web", info.Ref.Name)
	require.Equal(e, inst.ID(), info.Ref.ID)
	require.Equal(e, e.lane.namespace, info.Ref.Namespace)
	require.Equal(e, owner, info.Owner.Name)
	require.Empty(e, info.Run, "the run of an instance that never ran")
	require.Zero(e, info.Runs)
	require.Nil(e, info.Exit)
	require.Zero(e, info.PID)
	require.Zero(e, info.Started)
	require.Zero(e, info.Finished)
	require.Empty(e, info.Pending)
	require.NotEmpty(e, info.Revision)
	require.Equal(e, compute.LevelCreated, info.Level)
	if !info.Created.IsZero() {
		require.WithinDuration(e, before, info.Created, time.Hour, "Created")
	}
}

func createKeepsSpec(e *env) {
	spec := e.spec("web", "sleep", "1h")
	for _, n := range fields("labels") {
		if e.missing(n) == "" {
			spec.Labels = resource.Labels{"tier": "web", "example.com/part": "A.b_c-1", "empty": ""}
		}
	}
	info := e.info(e.create(spec))
	require.NotNil(e, info.Spec)
	require.Empty(e, resource.Unmet(*info.Spec, spec), "fields of the spec that are not met")
	require.Equal(e, e.s.kind(), info.Spec.Kind, "the kind is filled in")
	require.Subset(e, info.Labels, spec.Labels)
	require.Len(e, info.Labels, len(spec.Labels), "labels that nobody asked for")
}

func createRecordsDigest(e *env) {
	image, err := e.p.Images().Get(e.ctx, e.s.h.Image)
	require.NoError(e, err)
	info := e.info(e.stopped("web"))
	require.Equal(e, image.Ref.ID, info.Image.ID, "the image's digest")
	require.Equal(e, resource.KindImage, info.Image.Kind)
	require.NotEmpty(e, info.Image.Name)
}

func startRuns(e *env) {
	inst := e.stopped("web")
	require.NoError(e, inst.Start(e.ctx, compute.StartOptions{}))
	info := e.info(inst)
	require.Equal(e, compute.Running, info.State)
	require.NotEmpty(e, info.Run)
	require.Nil(e, info.Exit)
	require.GreaterOrEqual(e, info.Level, compute.LevelRunning)
}

func startTwice(e *env) {
	inst := e.running("web")
	before := e.info(inst)
	require.NoError(e, inst.Start(e.ctx, compute.StartOptions{}))
	after := e.info(inst)
	require.Equal(e, before.Run, after.Run)
	require.Equal(e, before.PID, after.PID)
}

func exitCode(e *env) {
	inst := e.running("job", "exit", "3")
	exit := e.wait(inst)
	require.True(e, exit.Known)
	require.Equal(e, 3, exit.Code)
	require.Empty(e, exit.Signal)
	require.False(e, exit.OOM)
	info := e.awaitState(inst, compute.Stopped)
	require.NotNil(e, info.Exit)
	require.Equal(e, 3, info.Exit.Code)
	require.Equal(e, exit.Run, info.Exit.Run)
	require.Equal(e, exit.Run, info.Run)
	require.Zero(e, info.PID)
}

func exitSignal(e *env) {
	exit := e.wait(e.running("job", "die", "SEGV"))
	require.True(e, exit.Known)
	require.Equal(e, 128+11, exit.Code)
	require.Contains(e, []string{"", "SIGSEGV"}, exit.Signal)
}

func exitAtOnce(e *env) {
	inst := e.stopped("job", "exit", "0")
	require.NoError(e, inst.Start(e.ctx, compute.StartOptions{}), "Start of a program that ends at once")
	exit := e.wait(inst)
	require.True(e, exit.Success(), "the exit: %+v", exit)
	e.awaitState(inst, compute.Stopped)
}

func startAgain(e *env) {
	inst := e.running("job", "exit", "3")
	first := e.wait(inst)
	e.awaitState(inst, compute.Stopped)
	require.NoError(e, inst.Start(e.ctx, compute.StartOptions{}))
	second := e.wait(inst)
	require.NotEqual(e, first.Run, second.Run, "the tokens of two runs")
	require.Equal(e, first.Code, second.Code)
	info := e.awaitState(inst, compute.Stopped)
	require.Equal(e, second.Run, info.Run)
	require.Contains(e, []int{0, 2}, info.Runs, "the number of runs, where it is counted")
}

func missingCommand(e *env) {
	inst := e.create(compute.Spec{
		Name: "web", Kind: e.s.h.Kind, Image: e.s.h.Image, Pull: compute.PullNever,
		Process: compute.Process{Command: []string{"/bin/no-such-program"}},
	})
	before := e.info(inst)
	e.failsField(inst.Start(e.ctx, compute.StartOptions{}), errdefs.ErrInvalidArgument, "process.command")
	after := e.info(inst)
	require.Equal(e, compute.Stopped, after.State)
	require.Equal(e, before.Run, after.Run, "a start that failed is no run")
	require.Equal(e, before.Exit, after.Exit)
	require.Equal(e, before.Runs, after.Runs)
}

func notExecutable(e *env) {
	spec := e.spec("web")
	spec.Process.Command = []string{"/etc/passwd"}
	inst := e.create(spec)
	e.failsField(inst.Start(e.ctx, compute.StartOptions{}), errdefs.ErrInvalidArgument, "process.command")
	e.inState(inst, compute.Stopped)
}

func commandInPath(e *env) {
	spec := e.spec("web")
	spec.Process.Command = []string{"guest", "exit", "5"}
	inst := e.create(spec)
	e.start(inst)
	require.Equal(e, 5, e.wait(inst).Code)
}

func startAfterFailure(e *env) {
	// The failure must be one that a later start does not share: a revision that
	// is not the instance's.
	inst := e.stopped("web")
	e.fails(inst.Start(e.ctx, compute.StartOptions{IfRevision: "none"}), errdefs.ErrAborted)
	e.inState(inst, compute.Stopped)
	e.start(inst)
	e.inState(inst, compute.Running)
}

func outOfMemory(e *env) {
	spec := e.spec("hungry", "alloc", "268435456")
	spec.Resources.Memory = 32 * resource.MiB
	inst := e.create(spec)
	e.start(inst)
	exit := e.wait(inst)
	require.True(e, exit.Known)
	require.True(e, exit.OOM, "the exit says that memory ran out: %+v", exit)
	require.Equal(e, 137, exit.Code)
	info := e.awaitState(inst, compute.Stopped)
	require.True(e, info.Exit.OOM)
}

func deleteStopped(e *env) {
	inst := e.stopped("web")
	require.NoError(e, inst.Delete(e.ctx, compute.DeleteOptions{}))
	e.gone(inst, "web")
}

// gone requires that nothing is left of an instance.
func (e *env) gone(inst compute.Instance, name string) {
	e.Helper()
	_, err := inst.Info(e.ctx)
	e.fails(err, errdefs.ErrNotFound)
	_, err = e.instances().Get(e.ctx, name)
	e.fails(err, errdefs.ErrNotFound)
	_, err = e.instances().Get(e.ctx, inst.ID())
	e.fails(err, errdefs.ErrNotFound)
	require.NotContains(e, e.names(e.instances(), compute.Filter{}), name)
}

func deleteRunning(e *env) {
	inst := e.running("web")
	run := e.info(inst).Run
	e.fails(inst.Delete(e.ctx, compute.DeleteOptions{}), errdefs.ErrFailedPrecondition)
	info := e.info(inst)
	require.Equal(e, compute.Running, info.State)
	require.Equal(e, run, info.Run)
}

func deleteForce(e *env) {
	inst := e.running("web", "ignore")
	require.NoError(e, inst.Delete(e.ctx, compute.DeleteOptions{Force: true}))
	e.gone(inst, "web")
}

func deleteTwice(e *env) {
	inst := e.stopped("web")
	require.NoError(e, inst.Delete(e.ctx, compute.DeleteOptions{}))
	e.fails(inst.Delete(e.ctx, compute.DeleteOptions{}), errdefs.ErrNotFound)
	e.fails(inst.Delete(e.ctx, compute.DeleteOptions{Force: true}), errdefs.ErrNotFound)
}

func infoTimes(e *env) {
	inst := e.ended("job", "exit", "0")
	info := e.info(inst)
	require.False(e, info.Started.IsZero(), "Started")
	require.False(e, info.Finished.IsZero(), "Finished")
	require.False(e, info.Finished.Before(info.Started), "a run ended at %v before it began at %v", info.Finished, info.Started)
	if !info.Created.IsZero() {
		require.False(e, info.Started.Before(info.Created), "a run began at %v before the instance was made at %v", info.Started, info.Created)
	}
}

func restartRunning(e *env) {
	inst := e.running("web")
	before := e.info(inst)
	require.NoError(e, compute.Restart(e.ctx, inst, compute.StopOptions{Force: true}))
	after := e.info(inst)
	require.Equal(e, compute.Running, after.State)
	require.NotEqual(e, before.Run, after.Run)
}

func pauseStops(e *env) {
	inst := e.running("web", "lines", "1000000", "1ms")
	e.awaitLine(inst, "line 3")
	run := e.info(inst).Run
	require.NoError(e, compute.Pause(e.ctx, inst))
	e.inState(inst, compute.Paused)
	// What was written just before the pause may still be on its way, so the
	// output must come to rest, and not be at rest. It is at rest when many looks
	// in a row, ever farther apart, show the same.
	count, same := -1, 0
	e.eventually("the output of a paused instance comes to rest", func() bool {
		now := len(e.logs(inst, compute.LogOptions{}))
		if now != count {
			count, same = now, 0
		}
		same++
		return same == 10
	})
	require.NoError(e, compute.Resume(e.ctx, inst))
	info := e.info(inst)
	require.Equal(e, compute.Running, info.State)
	require.Equal(e, run, info.Run, "a pause ends no run")
	e.eventually("the program goes on", func() bool { return len(e.logs(inst, compute.LogOptions{})) > count })
}

func suspendResume(e *env) {
	inst := e.running("web")
	run := e.info(inst).Run
	require.NoError(e, compute.Suspend(e.ctx, inst, compute.SuspendOptions{}))
	info := e.info(inst)
	require.Equal(e, compute.Suspended, info.State)
	require.Zero(e, info.PID, "a suspended instance has no process")
	e.start(inst)
	info = e.info(inst)
	require.Equal(e, compute.Running, info.State)
	require.Equal(e, run, info.Run, "a suspension ends no run")
}

func resetKeepsRun(e *env) {
	inst := e.running("web")
	run := e.info(inst).Run
	require.NoError(e, compute.Reset(e.ctx, inst))
	info := e.info(inst)
	require.Equal(e, compute.Running, info.State)
	require.Equal(e, run, info.Run)
}
