package providertest

import (
	"context"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
)

func waitCases() []testCase {
	return []testCase{
		{"Wait for an instance that never ran is FailedPrecondition", nil, waitNeverRan},
		{"Wait returns when the run ends", has(compute.FeatureExitCode), waitReturns},
		{"Wait for a run that is over returns at once, as often as it is asked", has(compute.FeatureExitCode), waitTwice},
		{"Wait for an earlier run never tells of a later one", has(compute.FeatureExitCode), waitEarlier},
		{"Wait for an unknown run says that it is not known", nil, waitUnknown},
		{"A pause does not end a Wait", has(compute.FeaturePause), waitThroughPause},
		{"A suspension does not end a Wait", has(compute.FeatureSuspend), waitThroughSuspend},
		{"Delete ends a Wait", nil, waitDeleted},
		{"Wait by another provider value sees the exit", has(compute.FeatureExitCode), waitOther},
		{"An exit is known to a provider value that was opened after it", has(compute.FeatureExitCode), exitOutlives},
		{"Exit tells when the run began and ended", nil, exitTimes},
	}
}

func waitNeverRan(e *env) {
	inst := e.stopped("web")
	_, err := inst.Wait(e.ctx, compute.WaitOptions{})
	re := e.fails(err, errdefs.ErrFailedPrecondition)
	require.Equal(e, "wait", re.Op)
}

// waiting begins a Wait for the run under way. What it returns gives the result.
func (e *env) waiting(inst compute.Instance) func() (compute.Exit, error) {
	e.Helper()
	type result struct {
		exit compute.Exit
		err  error
	}
	done := make(chan result, 1)
	run := e.info(inst).Run
	go func() {
		exit, err := inst.Wait(e.ctx, compute.WaitOptions{Run: run})
		done <- result{exit, err}
	}()
	return func() (compute.Exit, error) {
		e.Helper()
		var r result
		require.NoError(e, e.returns("Wait", func() error { r = <-done; return nil }))
		return r.exit, r.err
	}
}

func waitReturns(e *env) {
	inst := e.running("web")
	result := e.waiting(inst)
	run := e.info(inst).Run
	e.kill(inst)
	exit, err := result()
	require.NoError(e, err)
	require.True(e, exit.Known)
	require.Equal(e, run, exit.Run)
	require.Equal(e, 137, exit.Code)
}

func waitTwice(e *env) {
	inst := e.ended("job", "exit", "9")
	first := e.wait(inst)
	require.Equal(e, 9, first.Code)
	for range 3 {
		again, err := inst.Wait(e.ctx, compute.WaitOptions{Run: first.Run})
		require.NoError(e, err)
		require.Equal(e, first, again)
	}
}

func waitEarlier(e *env) {
	inst := e.ended("job", "exit", "9")
	first := e.wait(inst)
	e.start(inst)
	second := e.wait(inst)
	require.NotEqual(e, first.Run, second.Run)
	again, err := inst.Wait(e.ctx, compute.WaitOptions{Run: first.Run})
	require.NoError(e, err)
	require.Equal(e, first.Run, again.Run)
	if again.Known {
		require.Equal(e, first, again)
	}
}

func waitUnknown(e *env) {
	for _, inst := range []compute.Instance{e.stopped("new"), e.running("web")} {
		var exit compute.Exit
		err := e.returns("Wait for an unknown run", func() (err error) {
			exit, err = inst.Wait(e.ctx, compute.WaitOptions{Run: "no-such-run"})
			return err
		})
		require.NoError(e, err)
		require.Equal(e, "no-such-run", exit.Run)
		require.False(e, exit.Known)
	}
}

func waitThroughPause(e *env) {
	inst := e.running("web")
	result := e.waiting(inst)
	require.NoError(e, compute.Pause(e.ctx, inst))
	require.NoError(e, compute.Resume(e.ctx, inst))
	e.kill(inst)
	exit, err := result()
	require.NoError(e, err)
	// Had the pause ended it, the exit would not be that of the kill.
	require.Equal(e, *e.info(inst).Exit, exit)
}

func waitThroughSuspend(e *env) {
	inst := e.running("web")
	run := e.info(inst).Run
	result := e.waiting(inst)
	require.NoError(e, compute.Suspend(e.ctx, inst, compute.SuspendOptions{}))
	e.start(inst)
	e.kill(inst)
	exit, err := result()
	require.NoError(e, err)
	require.Equal(e, run, exit.Run)
	require.Equal(e, *e.info(inst).Exit, exit)
}

func waitDeleted(e *env) {
	inst := e.running("web")
	result := e.waiting(inst)
	e.delete(inst)
	exit, err := result()
	if err != nil {
		// The end of the run may be seen first.
		e.fails(err, errdefs.ErrNotFound)
		return
	}
	require.False(e, exit.Success(), "a run that was ended by force is no success")
}

func waitOther(e *env) {
	inst := e.running("web")
	other := e.open(OpenOptions{}).Instances().Handle(inst.ID())
	result := e.waiting(other)
	e.kill(inst)
	exit, err := result()
	require.NoError(e, err)
	require.Equal(e, 137, exit.Code)
	require.Equal(e, *e.info(inst).Exit, exit)
}

func exitOutlives(e *env) {
	inst := e.ended("job", "exit", "9")
	want := e.wait(inst)
	other := e.open(OpenOptions{}).Instances().Handle(inst.ID())
	ctx, cancel := context.WithTimeout(e.ctx, e.s.h.Patience)
	defer cancel()
	exit, err := other.Wait(ctx, compute.WaitOptions{})
	require.NoError(e, err)
	require.Equal(e, want.Run, exit.Run)
	require.Equal(e, want.Code, exit.Code)
	require.Equal(e, 9, e.info(other).Exit.Code)
}

func exitTimes(e *env) {
	inst := e.ended("job", "exit", "0")
	exit, info := e.wait(inst), e.info(inst)
	require.False(e, exit.Finished.IsZero())
	require.False(e, exit.Finished.Before(exit.Started), "the run ended at %v before it began at %v", exit.Finished, exit.Started)
	require.True(e, exit.Finished.Equal(info.Finished), "Info and Exit differ: %v, %v", info.Finished, exit.Finished)
}
