package providertest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	univirt "github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// crowd is how many calls cases make at the same time.
const crowd = 8

func concurrencyCases() []testCase {
	return []testCase{
		{"Of many Creates of one name one succeeds, and the others are AlreadyExists", nil,
			func(e *env) { createRace(e, e.p) }},
		{"Of many Creates of one name by two provider values one succeeds", nil,
			func(e *env) { createRace(e, e.p, e.open(OpenOptions{})) }},
		{"Many Starts of one instance are nil and begin one run", nil, startRace},
		{"Many Stops of one instance are nil", nil, stopRace},
		{"Of many Deletes of one instance one is nil, and the others are NotFound", nil, deleteRace},
		{"Many Updates of one instance are all made", changes("labels"), updateRace},
		{"Of many Updates at one revision one succeeds, and the others are Aborted", changes("labels"), revisionRace},
		{"Operations on one instance at the same time leave a state of the table", nil,
			func(e *env) { operationRace(e, e.p, e.p) }},
		{"Operations by two provider values at the same time leave a state of the table", nil,
			func(e *env) { operationRace(e, e.p, e.open(OpenOptions{})) }},
		{"Different instances go through their lives at the same time", nil, livesRace},
		{"Different instances do not wait for each other", has(compute.FeatureLogs), instancesApart},
		{"Reading never queues behind a change", has(compute.FeatureLogs), readingNeverQueues},
		{"A queued call ends with its context", has(compute.FeatureLogs), queuedEnds},
		{"Waits in many places see the same end", nil, waitRace},
	}
}

func createRace(e *env, values ...univirt.Provider) {
	created := make([]compute.Instance, crowd)
	errs := e.together(crowd, func(i int) error {
		var err error
		created[i], err = values[i%len(values)].Instances().Create(e.ctx, e.spec("web", "sleep", "1h"))
		return err
	})
	var winner compute.Instance
	for i, err := range errs {
		if err != nil {
			e.fails(err, errdefs.ErrAlreadyExists)
			continue
		}
		require.Nil(e, winner, "two Creates of one name succeeded")
		winner = created[i]
	}
	require.NotNil(e, winner, "no Create succeeded: %v", errs)
	require.Equal(e, []string{"web"}, e.names(e.instances(), compute.Filter{}))
	got, err := e.instances().Get(e.ctx, "web")
	require.NoError(e, err)
	require.Equal(e, winner.ID(), got.ID())
	e.start(winner)
}

func startRace(e *env) {
	inst := e.stopped("web")
	for _, err := range e.together(crowd, func(int) error { return inst.Start(e.ctx, compute.StartOptions{}) }) {
		require.NoError(e, err)
	}
	info := e.info(inst)
	require.Equal(e, compute.Running, info.State)
	require.Contains(e, []int{0, 1}, info.Runs, "the number of runs, where it is counted")
}

func stopRace(e *env) {
	inst := e.running("web")
	for _, err := range e.together(crowd, func(int) error { return inst.Stop(e.ctx, compute.StopOptions{Grace: time.Second}) }) {
		require.NoError(e, err)
	}
	e.inState(inst, compute.Stopped)
}

func deleteRace(e *env) {
	inst := e.running("web")
	done := 0
	for _, err := range e.together(crowd, func(int) error { return inst.Delete(e.ctx, compute.DeleteOptions{Force: true}) }) {
		if err == nil {
			done++
			continue
		}
		e.fails(err, errdefs.ErrNotFound)
	}
	require.Equal(e, 1, done, "the number of Deletes that succeeded")
	e.gone(inst, "web")
}

func updateRace(e *env) {
	inst := e.stopped("web")
	want := resource.Labels{}
	for i := range crowd {
		want[fmt.Sprintf("key-%d", i)] = "set"
	}
	other := e.open(OpenOptions{}).Instances().Handle(inst.ID())
	errs := e.together(crowd, func(i int) error {
		by := inst
		if i%2 == 1 {
			by = other
		}
		return by.Update(e.ctx, compute.Change{Labels: labelsOf(fmt.Sprintf("key-%d", i), "set")})
	})
	for _, err := range errs {
		require.NoError(e, err)
	}
	require.Equal(e, want, e.info(inst).Labels)
}

func revisionRace(e *env) {
	inst := e.stopped("web")
	revision := e.info(inst).Revision
	done := 0
	errs := e.together(crowd, func(i int) error {
		return inst.Update(e.ctx, compute.Change{Labels: labelsOf("winner", fmt.Sprint(i)), IfRevision: revision})
	})
	for _, err := range errs {
		if err == nil {
			done++
			continue
		}
		e.fails(err, errdefs.ErrAborted)
	}
	require.Equal(e, 1, done, "the number of Updates that succeeded")
}

// operationRace does everything to one instance at once. Each call must have an
// outcome that some order of the calls has.
func operationRace(e *env, values ...univirt.Provider) {
	inst := e.stopped("web")
	calls := []func(compute.Instance) error{
		func(i compute.Instance) error { return i.Start(e.ctx, compute.StartOptions{}) },
		func(i compute.Instance) error { return i.Stop(e.ctx, compute.StopOptions{Force: true}) },
		func(i compute.Instance) error { return compute.Pause(e.ctx, i) },
		func(i compute.Instance) error { return compute.Resume(e.ctx, i) },
		func(i compute.Instance) error {
			return i.Update(e.ctx, compute.Change{Labels: labelsOf("tier", "web")})
		},
		func(i compute.Instance) error { return i.Delete(e.ctx, compute.DeleteOptions{}) },
	}
	for range 3 {
		errs := e.together(2*len(calls), func(i int) error {
			return calls[i%len(calls)](values[i/len(calls)].Instances().Handle(inst.ID()))
		})
		for _, err := range errs {
			if err == nil || isUnsupported(err) || errdefs.IsNotFound(err) {
				continue
			}
			e.wellFormed(err)
			require.True(e, errdefs.IsFailedPrecondition(err) || errdefs.IsAborted(err), "an error that no order of the calls has: %v", err)
		}
		info, err := inst.Info(e.ctx)
		if errdefs.IsNotFound(err) {
			inst = e.stopped("web")
			continue
		}
		require.NoError(e, err)
		require.True(e, info.State.Settled(), "the state after all calls have returned: %s", info.State)
		if info.State == compute.Paused {
			require.NoError(e, compute.Resume(e.ctx, inst))
		}
	}
	e.delete(inst)
}

func livesRace(e *env) {
	errs := e.together(crowd, func(i int) error {
		inst, err := e.instances().Create(e.ctx, e.spec(fmt.Sprintf("web-%d", i), "sleep", "1h"))
		if err != nil {
			return err
		}
		if err := inst.Start(e.ctx, compute.StartOptions{}); err != nil {
			return err
		}
		if err := inst.Stop(e.ctx, compute.StopOptions{Force: true}); err != nil {
			return err
		}
		return inst.Delete(e.ctx, compute.DeleteOptions{})
	})
	for _, err := range errs {
		require.NoError(e, err)
	}
	require.Empty(e, e.names(e.instances(), compute.Filter{}))
}

// stopping makes an instance of which a Stop waits for the grace. What it
// returns ends the wait by force, and requires the Stop to return.
func (e *env) stopping(name string) (compute.Instance, func()) {
	e.Helper()
	e.needsSignals()
	inst := e.ready(name, "signals")
	stopped := make(chan error, 1)
	go func() { stopped <- inst.Stop(e.ctx, compute.StopOptions{Signal: "SIGHUP", Grace: time.Hour}) }()
	e.awaitLine(inst, "HUP")
	return inst, func() {
		e.Helper()
		e.kill(inst)
		require.NoError(e, e.returns("the first Stop", func() error { return <-stopped }))
	}
}

func instancesApart(e *env) {
	_, end := e.stopping("busy")
	err := e.returns("the life of another instance", func() error {
		inst, err := e.instances().Create(e.ctx, e.spec("free", "sleep", "1h"))
		if err != nil {
			return err
		}
		if err := inst.Start(e.ctx, compute.StartOptions{}); err != nil {
			return err
		}
		return inst.Delete(e.ctx, compute.DeleteOptions{Force: true})
	})
	require.NoError(e, err)
	end()
}

func readingNeverQueues(e *env) {
	inst, end := e.stopping("busy")
	reads := map[string]func() error{
		"Info": func() error { _, err := inst.Info(e.ctx); return err },
		"Get":  func() error { _, err := e.instances().Get(e.ctx, "busy"); return err },
		"List": func() error { _, err := resource.Collect(e.instances().List(e.ctx, compute.Filter{})); return err },
		"Logs": func() error {
			_, err := resource.Collect(compute.Logs(e.ctx, inst, compute.LogOptions{}))
			return err
		},
		"Wait": func() error {
			ctx, cancel := context.WithTimeout(e.ctx, time.Millisecond)
			defer cancel()
			if _, err := inst.Wait(ctx, compute.WaitOptions{}); !contextError(err) {
				return fmt.Errorf("Wait with a short context: %w", err)
			}
			return nil
		},
	}
	if e.offers(compute.FeatureStats) {
		reads["Stats"] = func() error {
			_, err := resource.Collect(e.instances().Stats(e.ctx, compute.Filter{}))
			return err
		}
	}
	if e.offers(compute.FeatureExec) {
		reads["Exec"] = func() error {
			_, err := compute.Output(e.ctx, inst, GuestPath, "echo", "here")
			if errdefs.IsFailedPrecondition(err) || errors.Is(err, errdefs.ErrUnavailable) {
				// An instance that is Stopping has no executions any more, and one that boots
				// none yet.
				err = nil
			}
			return err
		}
	}
	for name, read := range reads {
		require.NoError(e, e.returns(name+" during a Stop", read), name)
	}
	end()
}

func queuedEnds(e *env) {
	inst, end := e.stopping("busy")
	for name, call := range map[string]func(context.Context) error{
		"Start":  func(ctx context.Context) error { return inst.Start(ctx, compute.StartOptions{}) },
		"Delete": func(ctx context.Context) error { return inst.Delete(ctx, compute.DeleteOptions{}) },
	} {
		err := e.returns("a queued "+name, func() error {
			ctx, cancel := context.WithTimeout(e.ctx, 20*time.Millisecond)
			defer cancel()
			return call(ctx)
		})
		// A provider that knows the state to be Stopping may refuse at once.
		require.Error(e, err, name)
		e.wellFormed(err)
		require.True(e, contextError(err) || errdefs.IsFailedPrecondition(err), "%s: %v", name, err)
	}
	end()
}

func waitRace(e *env) {
	inst := e.running("web")
	other := e.open(OpenOptions{}).Instances().Handle(inst.ID())
	exits := make([]compute.Exit, crowd)
	waiting := make(chan []error, 1)
	go func() {
		errs := make([]error, crowd)
		done := make(chan int, crowd)
		for i := range crowd {
			go func() {
				by := inst
				if i%2 == 1 {
					by = other
				}
				exits[i], errs[i] = by.Wait(e.ctx, compute.WaitOptions{})
				done <- i
			}()
		}
		for range crowd {
			<-done
		}
		waiting <- errs
	}()
	e.kill(inst)
	var errs []error
	require.NoError(e, e.returns("many Waits", func() error { errs = <-waiting; return nil }))
	for i, err := range errs {
		require.NoError(e, err)
		require.Equal(e, exits[0].Run, exits[i].Run)
		require.Equal(e, exits[0].Code, exits[i].Code)
	}
}
