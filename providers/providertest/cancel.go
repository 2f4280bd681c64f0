package providertest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

func cancelCases() []testCase {
	cases := []testCase{
		{"A Create that is cancelled in its middle leaves nothing behind", nil, cancelCreate},
		{"A Start that is cancelled in its middle leaves a state of the table", nil, cancelStart},
		{"A Stop that is cancelled in its middle leaves a state of the table", nil, cancelStop},
		{"A Delete that is cancelled in its middle leaves the instance or nothing", nil, cancelDelete},
		{"An Update that is cancelled in its middle makes the whole change or none", changes("labels"), cancelUpdate},
		{"An Exec that is cancelled in its middle leaves the instance usable", has(compute.FeatureExec), cancelExec},
		{"A context that ends after Create changes nothing", nil, cancelAfterCreate},
		{"A context that ends after Start leaves the run alone", nil, cancelAfterStart},
		{"A context that ends after Exec leaves the process alone", has(compute.FeatureExec), cancelAfterExec},
		{"A cancelled Wait leaves the run alone", nil, cancelWait},
	}
	for _, o := range operations() {
		cases = append(cases, testCase{
			name:  "A context that is done before " + o.name + " has no effect",
			needs: o.needs,
			run:   func(e *env) { doneBefore(e, o) },
		})
		if !cutElsewhere[o.name] {
			cases = append(cases, testCase{
				name:  "A context that ends in the middle of " + o.name + ", or after it, leaves a state of the table",
				needs: all(cutFrom(o).needs, o.needs),
				run:   func(e *env) { cutOperation(e, o) },
			})
		}
	}
	for _, o := range providerOperations() {
		cases = append(cases, testCase{
			name:  "A context that is done before the call to " + o.name + " has no effect",
			needs: o.needs,
			run: func(e *env) {
				for _, ctx := range e.doneContexts() {
					e.cancelled(o.do(ctx, e, e.p), ctx.Err())
				}
				require.Empty(e, e.names(e.instances(), compute.Filter{}))
			},
		}, testCase{
			name:  "A context that ends in the middle of the call to " + o.name + " leaves nothing behind",
			needs: o.needs,
			run:   func(e *env) { cutProviderOperation(e, o) },
		})
	}
	return cases
}

// doneContexts returns a context that was cancelled and one whose deadline has
// passed.
func (e *env) doneContexts() []context.Context {
	cancelled, cancel := context.WithCancel(e.ctx)
	cancel()
	late, cancel := context.WithDeadline(e.ctx, time.Unix(1, 0))
	cancel()
	return []context.Context{cancelled, late}
}

func doneBefore(e *env, o operation) {
	e.idle = true // as nothing is done
	inst := e.running("web")
	before := e.info(inst)
	for _, ctx := range e.doneContexts() {
		err := e.returns(o.name, func() error { return o.do(ctx, e, inst) })
		e.cancelled(err, ctx.Err())
	}
	after := e.info(inst)
	require.Equal(e, before.State, after.State)
	require.Equal(e, before.Run, after.Run)
	require.Equal(e, before.Labels, after.Labels)
	require.Equal(e, before.Revision, after.Revision)
}

// parts is into how many slices the duration of an operation is divided, to
// cancel it in each.
func parts() int {
	if flagSet("test.short") {
		return 2
	}
	return 6
}

// cancelledAt does an operation once to see how long it takes, with a context that
// ends after it, and then with contexts that end in each part of that time. The
// operation gets a new subject each time, made by prepare; check sees what came of
// it, and whether it failed.
func cancelledAt[S any](e *env, prepare func(i int) S, do func(context.Context, S) error, check func(S, error)) {
	e.Helper()
	subject := prepare(0)
	begun := time.Now()
	ctx, cancel := context.WithCancel(e.ctx)
	err := do(ctx, subject)
	took := time.Since(begun)
	cancel()
	require.NoError(e, err, "undisturbed")
	check(subject, nil)
	parts := parts()
	for i := range parts {
		subject := prepare(i + 1)
		err := e.returns("a cancelled operation", func() error {
			ctx, cancel := context.WithTimeout(e.ctx, took*time.Duration(2*i+1)/time.Duration(2*parts))
			defer cancel()
			return do(ctx, subject)
		})
		if err != nil {
			e.cancelled(err, context.DeadlineExceeded)
		}
		check(subject, err)
	}
}

func cancelCreate(e *env) {
	cancelledAt(e, func(i int) string { return fmt.Sprintf("web-%d", i) },
		func(ctx context.Context, name string) error {
			_, err := e.instances().Create(ctx, e.spec(name, "sleep", "1h"))
			return err
		},
		func(name string, err error) {
			inst, getErr := e.instances().Get(e.ctx, name)
			if err == nil {
				require.NoError(e, getErr)
				e.inState(inst, compute.Stopped)
				e.delete(inst)
				return
			}
			require.Empty(e, leftovers(err), "what could not be undone")
			require.True(e, isNotFound(getErr), "after a Create that failed, Get says: %v", getErr)
			require.Empty(e, e.names(e.instances(), compute.Filter{}))
			e.delete(e.stopped(name))
		})
}

// leftovers lists what an error says to have been left behind.
func leftovers(err error) []string {
	var names []string
	if re, ok := errors.AsType[*resource.Error](err); ok {
		for _, ref := range re.Left {
			names = append(names, ref.String())
		}
	}
	return names
}

func cancelStart(e *env) {
	cancelledAt(e, func(i int) compute.Instance { return e.stopped(fmt.Sprintf("web-%d", i)) },
		func(ctx context.Context, inst compute.Instance) error {
			return inst.Start(ctx, compute.StartOptions{})
		},
		func(inst compute.Instance, err error) {
			if err == nil {
				e.inState(inst, compute.Running)
			}
			e.settles(inst, compute.Stopped, compute.Running)
			// Whatever it left, the instance can be used on.
			e.start(inst)
			e.inState(inst, compute.Running)
			e.delete(inst)
		})
}

// settles requires an instance to come to rest in one of the states.
func (e *env) settles(inst compute.Instance, states ...compute.State) {
	e.Helper()
	var state compute.State
	e.eventually("the instance settles", func() bool {
		state = e.info(inst).State
		return state.Settled()
	})
	require.Contains(e, states, state)
}

func cancelStop(e *env) {
	cancelledAt(e, func(i int) compute.Instance { return e.running(fmt.Sprintf("web-%d", i)) },
		func(ctx context.Context, inst compute.Instance) error {
			return inst.Stop(ctx, compute.StopOptions{Force: true})
		},
		func(inst compute.Instance, err error) {
			if err == nil {
				e.inState(inst, compute.Stopped)
			}
			state := e.info(inst).State
			require.Contains(e, []compute.State{compute.Running, compute.Stopping, compute.Stopped}, state)
			e.kill(inst)
			e.inState(inst, compute.Stopped)
			require.NoError(e, inst.Delete(e.ctx, compute.DeleteOptions{}))
		})
}

func cancelDelete(e *env) {
	cancelledAt(e, func(i int) compute.Instance { return e.running(fmt.Sprintf("web-%d", i)) },
		func(ctx context.Context, inst compute.Instance) error {
			return inst.Delete(ctx, compute.DeleteOptions{Force: true})
		},
		func(inst compute.Instance, err error) {
			_, infoErr := inst.Info(e.ctx)
			if err == nil {
				require.True(e, isNotFound(infoErr), "after Delete, Info says: %v", infoErr)
				return
			}
			if infoErr == nil {
				e.delete(inst)
				_, infoErr = inst.Info(e.ctx)
			}
			require.True(e, isNotFound(infoErr), "after Delete, Info says: %v", infoErr)
		})
	require.Empty(e, e.names(e.instances(), compute.Filter{}))
}

func cancelUpdate(e *env) {
	inst := e.stopped("web")
	cancelledAt(e, func(i int) string { return fmt.Sprint(i) },
		func(ctx context.Context, value string) error {
			return inst.Update(ctx, compute.Change{Labels: labelsOf("a", value, "b", value)})
		},
		func(value string, err error) {
			labels := e.info(inst).Labels
			require.Equal(e, labels["a"], labels["b"], "half of a change was made")
			if err == nil {
				require.Equal(e, value, labels["a"])
			}
		})
}

func cancelExec(e *env) {
	inst := e.reachable()
	cancelledAt(e, func(int) struct{} { return struct{}{} },
		func(ctx context.Context, _ struct{}) error {
			x, err := e.launch(ctx, inst, guestExec("exit", "0"))
			if err != nil {
				return err
			}
			_, err = x.Wait(e.ctx)
			return err
		},
		func(struct{}, error) { require.Equal(e, "here", e.output(inst, "echo", "here")) })
}

func cancelAfterCreate(e *env) {
	ctx, cancel := context.WithCancel(e.ctx)
	inst, err := e.instances().Create(ctx, e.spec("web", "sleep", "1h"))
	cancel()
	require.NoError(e, err)
	e.inState(inst, compute.Stopped)
	e.start(inst)
}

func cancelAfterStart(e *env) {
	inst := e.stopped("web", "signals")
	ctx, cancel := context.WithCancel(e.ctx)
	err := inst.Start(ctx, compute.StartOptions{})
	cancel()
	require.NoError(e, err)
	e.inState(inst, compute.Running)
	if e.offers(compute.FeatureLogs) {
		e.awaitLine(inst, "ready")
		e.hangUp(inst)
		e.awaitLine(inst, "TERM")
	}
}

func cancelAfterExec(e *env) {
	inst := e.reachable()
	var out buffer
	spec := guestExec("late", "50ms", "still here")
	spec.Stdout = &out
	ctx, cancel := context.WithCancel(e.ctx)
	x, err := e.launch(ctx, inst, spec)
	cancel()
	require.NoError(e, err)
	exit, err := x.Wait(e.ctx)
	require.NoError(e, err)
	require.True(e, exit.Known)
	require.Zero(e, exit.Code)
	require.Equal(e, "still here\n", out.String())
}

func cancelWait(e *env) {
	inst := e.running("web")
	ctx, cancel := context.WithCancel(e.ctx)
	waited := make(chan error, 1)
	go func() {
		_, err := inst.Wait(ctx, compute.WaitOptions{})
		waited <- err
	}()
	cancel()
	e.cancelled(e.returns("a cancelled Wait", func() error { return <-waited }), context.Canceled)
	e.inState(inst, compute.Running)
	e.kill(inst)
	require.True(e, e.wait(inst).Known)
}
