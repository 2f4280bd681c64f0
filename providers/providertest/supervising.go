package providertest

import (
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// supervisionCases are of what happens without a call: a provider that declares
// that it honours a policy or a probe has somebody who acts on it.
func supervisionCases() []testCase {
	restart := fields("restart.mode", "restart.backoff")
	health := all(fields("health.exec", "health.interval"), has(compute.FeatureExec))
	return []testCase{
		{"Info says that an instance is supervised where policies and health checks are honoured, and only there", nil, supervisedAsDeclared},
		{"A run that fails is followed by another where the policy is on-failure, and one that does not is not", all(restart, has(compute.FeatureExitCode)), restartOnFailure},
		{"Every run is followed by another where the policy is always", restart, restartAlways},
		{"No run is followed by another where there is no policy", restart, restartNever},
		{"Restarts in a row are bounded", all(restart, fields("restart.maxRetries")), restartBounded},
		{"A Start begins a new row of restarts", all(restart, fields("restart.maxRetries")), restartRow},
		{"The wait before a restart doubles", restart, restartBackoff},
		{"A Stop is not followed by a restart, of what runs and of what waits for one", restart, restartStopped},
		{"A Start does not wait for the restart that is due", restart, restartStarted},
		{"What waits for a restart can be deleted", restart, restartDeleted},
		{"A policy that is changed holds from the next end of a run on", all(restart, changes("restart.mode")), restartChanged},
		{"Restarts go on when the value that began the run is closed", restart, restartOrphaned},
		{"Health is starting, then unhealthy or healthy as the check says, and gone with the run", health, healthFollows},
		{"An instance without a health check has no health", health, healthNone},
		{"As many checks in a row must fail as the spec says", all(health, fields("health.failures")), healthFailures},
		{"Checks that fail in the start period do not count", all(health, fields("health.startPeriod", "health.failures")), healthStartPeriod},
		{"A check that takes too long has failed", all(health, fields("health.timeout", "health.failures")), healthTimeout},
		{"A port is checked", all(health, fields("health.tcp", "health.failures"), has(compute.FeatureDial)), healthPort},
		{"Info tells the level healthy when the readiness probe has passed", all(health, fields("readiness.exec")), readinessLevel},
		{"Info tells the level healthy by the health check where there is no readiness probe", health, healthLevel},
	}
}

// soon is how long the suite lets a supervisor wait.
const soon = 10 * time.Millisecond

func supervisedAsDeclared(e *env) {
	honoured := e.missing(fields("restart.mode")[0]) == "" || e.missing(fields("health.exec")[0]) == ""
	require.Equal(e, honoured, e.info(e.running("web")).Supervised)
}

// policed makes a running instance with a restart policy.
func (e *env) policed(name string, policy compute.RestartPolicy, program ...string) compute.Instance {
	e.Helper()
	spec := e.spec(name, program...)
	spec.Restart = policy
	inst := e.create(spec)
	e.start(inst)
	return inst
}

// nextRun waits until another run than one has begun, and returns its token.
func (e *env) nextRun(inst compute.Instance, run string) string {
	e.Helper()
	next := ""
	e.eventually("another run than "+run, func() bool {
		next = e.info(inst).Run
		return next != run
	})
	return next
}

// pass has a supervisor restart another instance, after a wait that is longer than
// one that would have led to what is no restart.
func (e *env) pass(wait time.Duration) {
	e.Helper()
	policy := compute.RestartPolicy{Mode: compute.RestartAlways, Backoff: 2 * max(wait, 50*time.Millisecond)}
	inst := e.policed("other-"+resource.NewID()[:8], policy, "exit", "0")
	e.nextRun(inst, e.info(inst).Run)
	e.delete(inst)
}

// rests requires that no other run follows the last of each instance, of rows that
// began at a time and whose first wait is given.
func (e *env) rests(began time.Time, first time.Duration, all ...compute.Instance) {
	e.Helper()
	wait := first
	before := make([]compute.Info, len(all))
	for n, inst := range all {
		before[n] = e.awaitState(inst, compute.Stopped)
		wait = max(wait, longest(before[n], began, first))
	}
	e.pass(wait)
	for n, inst := range all {
		after := e.info(inst)
		require.Equal(e, compute.Stopped, after.State)
		require.Equal(e, before[n].Run, after.Run, "another run has begun")
	}
}

// longest is how long an instance may have to wait for its next run, whose waits
// doubled however often: no longer than all waits before, which lie behind, and the
// first; and no longer than one doubled for each run, where those are counted.
func longest(info compute.Info, began time.Time, first time.Duration) time.Duration {
	wait := time.Since(began) + first
	if n := info.Runs; n > 0 && n < 20 {
		wait = min(wait, first<<n)
	}
	return wait
}

// boots reports whether instances are machines, of which the provider cannot tell how
// their program ended: such a run takes seconds, so cases are content with fewer.
func (e *env) boots() bool { return !e.offers(compute.FeatureExitCode) }

// failing is the mode that a program has restarted that fails, where the provider can
// tell.
func (e *env) failing() compute.RestartMode {
	if e.boots() {
		return compute.RestartAlways
	}
	return compute.RestartOnFailure
}

func restartOnFailure(e *env) {
	policy := compute.RestartPolicy{Mode: compute.RestartOnFailure, Backoff: soon}
	failing := e.policed("failing", policy, "exit", "3")
	run := e.info(failing).Run
	exit, err := failing.Wait(e.ctx, compute.WaitOptions{Run: run})
	require.NoError(e, err)
	require.Equal(e, 3, exit.Code)
	next := e.nextRun(failing, run)
	exit, err = failing.Wait(e.ctx, compute.WaitOptions{Run: next})
	require.NoError(e, err)
	require.Equal(e, next, exit.Run)
	e.nextRun(failing, next)
	began := time.Now()
	fine := e.policed("fine", policy, "exit", "0")
	e.wait(fine)
	e.rests(began, soon, fine)
}

func restartAlways(e *env) {
	policy := compute.RestartPolicy{Mode: compute.RestartAlways, Backoff: soon}
	codes := []string{"0", "3"}
	if e.boots() {
		codes = codes[:1]
	}
	for _, code := range codes {
		inst := e.policed("web-"+code, policy, "exit", code)
		e.nextRun(inst, e.nextRun(inst, e.info(inst).Run))
	}
}

func restartNever(e *env) {
	began := time.Now()
	plain := e.policed("plain", compute.RestartPolicy{}, "exit", "3")
	never := e.policed("never", compute.RestartPolicy{Mode: compute.RestartNever, Backoff: soon}, "exit", "3")
	e.rests(began, 100*time.Millisecond, plain, never)
}

// rowOf requires an instance to be restarted so often after one Start, which was at a
// time, and then to rest. How many runs there were with the first is given.
func (e *env) rowOf(restarts int, inst compute.Instance, counted int, began time.Time) {
	e.Helper()
	first := e.info(inst).Run
	if e.boots() {
		if e.rowOfMachine(restarts, inst) {
			e.rests(began, apart, inst)
		}
		return
	}
	seen := map[string]bool{first: true}
	count := func() int {
		info := e.info(inst)
		seen[info.Run] = true
		if info.Runs > 0 {
			// The provider counts: none can have been missed.
			return info.Runs - counted
		}
		return len(seen) - 1
	}
	e.eventually(fmt.Sprintf("%d restarts", restarts), func() bool { return count() >= restarts })
	e.rests(began, apart, inst)
	require.Equal(e, restarts, count(), "the restarts")
}

// rowOfMachine requires an instance to be restarted so often, which takes its time to
// begin and to end: no run is missed, and one may last so long that it ends the row. It
// is false where all do.
func (e *env) rowOfMachine(restarts int, inst compute.Instance) bool {
	e.Helper()
	run, left := e.info(inst).Run, restarts
	for range 2 * (restarts + 1) {
		exit, err := inst.Wait(e.ctx, compute.WaitOptions{Run: run})
		require.NoError(e, err)
		if steady(exit) {
			left = restarts
		}
		if left == 0 {
			return true
		}
		run = e.nextRun(inst, run)
		left--
	}
	e.Logf("machines boot so slowly here that no row of restarts comes to its end")
	return false
}

// steady reports whether a run lasted so long that it ends a row of restarts.
func steady(exit compute.Exit) bool { return exit.Finished.Sub(exit.Started) >= 10*time.Second }

// apart is a wait before a restart that is so long that each run is seen.
const apart = 50 * time.Millisecond

// bounded is a policy of some restarts.
func (e *env) bounded(most int) compute.RestartPolicy {
	return compute.RestartPolicy{Mode: e.failing(), MaxRetries: most, Backoff: apart}
}

func restartBounded(e *env) {
	began := time.Now()
	restarts := 2
	if e.boots() {
		restarts = 1
	}
	inst := e.policed("web", e.bounded(restarts), "exit", "3")
	e.rowOf(restarts, inst, 1, began)
}

func restartRow(e *env) {
	began := time.Now()
	inst := e.policed("web", e.bounded(1), "exit", "3")
	if !e.boots() {
		e.rowOf(1, inst, 1, began)
	} else if !e.rowOfMachine(1, inst) {
		return
	}
	began = time.Now()
	e.start(inst)
	e.rowOf(1, inst, 3, began)
}

func restartBackoff(e *env) {
	const backoff = 50 * time.Millisecond
	inst := e.policed("web", compute.RestartPolicy{Mode: e.failing(), Backoff: backoff}, "exit", "3")
	run := e.info(inst).Run
	before, err := inst.Wait(e.ctx, compute.WaitOptions{Run: run})
	require.NoError(e, err)
	for wait := backoff; wait <= 4*backoff; wait *= 2 {
		if steady(before) || e.boots() && wait > 2*backoff {
			return // another row begins, or this is enough
		}
		run = e.nextRun(inst, run)
		after, err := inst.Wait(e.ctx, compute.WaitOptions{Run: run})
		require.NoError(e, err)
		// Clocks of backends are coarse.
		require.GreaterOrEqual(e, after.Started.Sub(before.Finished), wait-wait/10, "the wait before the restart")
		before = after
	}
}

func restartStopped(e *env) {
	const backoff = 200 * time.Millisecond
	policy := compute.RestartPolicy{Mode: compute.RestartAlways, Backoff: backoff}
	began := time.Now()
	running := e.policed("running", policy, "sleep", "1h")
	require.NoError(e, running.Stop(e.ctx, compute.StopOptions{Force: true}))
	e.inState(running, compute.Stopped)
	waiting := e.policed("waiting", policy, "exit", "0")
	e.wait(waiting)
	require.NoError(e, waiting.Stop(e.ctx, compute.StopOptions{}))
	e.inState(waiting, compute.Stopped)
	e.rests(began, backoff, waiting, running)
	run := e.info(waiting).Run
	e.start(waiting)
	require.NotEqual(e, run, e.info(waiting).Run)
}

func restartStarted(e *env) {
	inst := e.policed("web", compute.RestartPolicy{Mode: compute.RestartAlways, Backoff: time.Hour}, "exit", "0")
	run := e.info(inst).Run
	e.awaitState(inst, compute.Stopped)
	e.start(inst)
	require.NotEqual(e, run, e.info(inst).Run)
}

func restartDeleted(e *env) {
	inst := e.policed("web", compute.RestartPolicy{Mode: compute.RestartAlways, Backoff: 50 * time.Millisecond}, "exit", "0")
	e.awaitState(inst, compute.Stopped)
	e.delete(inst)
	e.pass(50 * time.Millisecond)
	require.Empty(e, e.names(e.instances(), compute.Filter{}))
}

func restartChanged(e *env) {
	inst, began := e.stopped("web", "exit", "0"), time.Now()
	require.NoError(e, inst.Update(e.ctx, compute.Change{Restart: &compute.RestartPolicy{Mode: compute.RestartAlways, Backoff: soon}}))
	e.start(inst)
	e.nextRun(inst, e.info(inst).Run)
	require.NoError(e, inst.Update(e.ctx, compute.Change{Restart: &compute.RestartPolicy{Mode: compute.RestartNever}}))
	// A run may be under way still; it is the last.
	e.rests(began, soon, inst)
}

func restartOrphaned(e *env) {
	maker := e.open(OpenOptions{})
	spec := e.spec("web", "exit", "3")
	spec.Restart = compute.RestartPolicy{Mode: e.failing(), Backoff: apart}
	made, err := maker.Instances().Create(e.ctx, spec)
	require.NoError(e, err)
	require.NoError(e, made.Start(e.ctx, compute.StartOptions{}))
	require.NoError(e, maker.Close())
	inst := e.instances().Handle(made.ID())
	next := e.nextRun(inst, e.info(inst).Run)
	if !e.boots() {
		e.nextRun(inst, next)
	}
}

// checked makes a running instance with a health check, which passes when there is
// a file at wellFile.
func (e *env) checked(name string, change func(*compute.Spec)) compute.Instance {
	e.Helper()
	return e.checkedOf(e.spec(name, "sleep", "1h"), change)
}

// ill is checked of an instance that need not answer: its checks fail, and never pass.
func (e *env) ill(name string, change func(*compute.Spec)) compute.Instance {
	e.Helper()
	return e.checkedOf(e.inert(name), change)
}

// inert is the spec of an instance of which it does not matter what happens within.
func (e *env) inert(name string) compute.Spec {
	e.Helper()
	was := e.idle
	e.idle = true
	defer func() { e.idle = was }()
	return e.spec(name, inert...)
}

func (e *env) checkedOf(spec compute.Spec, change func(*compute.Spec)) compute.Instance {
	e.Helper()
	spec.Health = &compute.Probe{Exec: []string{GuestPath, "read", wellFile}, Interval: soon, Timeout: e.s.h.Patience}
	if change != nil {
		change(&spec)
	}
	inst := e.create(spec)
	e.start(inst)
	return inst
}

const wellFile = "/well"

func (e *env) awaitHealth(inst compute.Instance, health compute.Health) {
	e.Helper()
	e.eventually("the instance is "+string(health), func() bool { return e.info(inst).Health == health })
}

// othersIll has a supervisor find another instance ill, after as many checks as
// others fail in.
func (e *env) othersIll(failures int) {
	e.Helper()
	e.awaitHealth(e.ill("other", func(s *compute.Spec) { s.Health.Failures = failures }), compute.HealthUnhealthy)
}

func healthFollows(e *env) {
	inst := e.checked("web", nil)
	require.Contains(e, []compute.Health{compute.HealthStarting, compute.HealthUnhealthy}, e.info(inst).Health)
	e.awaitHealth(inst, compute.HealthUnhealthy)
	e.inState(inst, compute.Running)
	e.output(inst, "write", wellFile, "x")
	e.awaitHealth(inst, compute.HealthHealthy)
	e.kill(inst)
	require.Empty(e, e.info(inst).Health)
	e.start(inst)
	if e.s.h.AdaptFleeting == nil {
		require.NotEqual(e, compute.HealthUnhealthy, e.info(inst).Health, "of another run")
	} else {
		// The file has gone with the run.
		e.output(inst, "write", wellFile, "x")
	}
	e.awaitHealth(inst, compute.HealthHealthy)
}

func healthNone(e *env) {
	inst := e.create(e.inert("web"))
	e.start(inst)
	require.Empty(e, e.info(inst).Health)
	e.othersIll(1)
	require.Empty(e, e.info(inst).Health)
	e.inState(inst, compute.Running)
}

func healthFailures(e *env) {
	e.awaitHealth(e.ill("few", func(s *compute.Spec) { s.Health.Failures = 1 }), compute.HealthUnhealthy)
	many := e.ill("many", func(s *compute.Spec) { s.Health.Failures = 1_000_000 })
	e.othersIll(10)
	require.Equal(e, compute.HealthStarting, e.info(many).Health)
}

func healthStartPeriod(e *env) {
	inst := e.checked("web", func(s *compute.Spec) { s.Health.Failures, s.Health.StartPeriod = 1, time.Hour })
	e.othersIll(10)
	require.Equal(e, compute.HealthStarting, e.info(inst).Health)
	e.output(inst, "write", wellFile, "x")
	e.awaitHealth(inst, compute.HealthHealthy)
}

func healthTimeout(e *env) {
	// What is given the time passes.
	inst := e.checked("web", func(s *compute.Spec) {
		s.Health.Exec, s.Health.Timeout, s.Health.Failures = []string{GuestPath, "sleep", "100ms"}, 50*time.Millisecond, 1
	})
	e.awaitHealth(inst, compute.HealthUnhealthy)
	_, err := e.waitFor(inst, compute.LevelAgent)
	require.NoError(e, err)
	e.othersIll(10)
	require.Equal(e, compute.HealthUnhealthy, e.info(inst).Health)
}

func healthPort(e *env) {
	listening, silent := e.listener("web"), e.inert("silent")
	silent.Networks = listening.Networks
	probed := func(spec compute.Spec) compute.Instance {
		spec.Health = &compute.Probe{TCP: fmt.Sprint(dialPort), Interval: soon, Failures: 1_000_000}
		inst := e.create(spec)
		e.start(inst)
		return inst
	}
	e.awaitHealth(probed(listening), compute.HealthHealthy)
	inst := probed(silent)
	e.othersIll(10)
	require.Equal(e, compute.HealthStarting, e.info(inst).Health, "nothing listens")
}

func readinessLevel(e *env) {
	inst := e.checked("web", func(s *compute.Spec) {
		s.Readiness, s.Health = s.Health, &compute.Probe{Exec: []string{GuestPath, "exit", "0"}, Interval: soon, Timeout: e.s.h.Patience}
	})
	e.awaitHealth(inst, compute.HealthHealthy)
	e.othersIll(3)
	require.Less(e, e.info(inst).Level, compute.LevelHealthy)
	e.output(inst, "write", wellFile, "x")
	_, err := e.waitFor(inst, compute.LevelHealthy)
	require.NoError(e, err)
	require.Equal(e, compute.LevelHealthy, e.info(inst).Level)
	e.kill(inst)
	require.Equal(e, compute.LevelCreated, e.info(inst).Level)
}

func healthLevel(e *env) {
	inst := e.checked("web", nil)
	e.awaitHealth(inst, compute.HealthUnhealthy)
	require.Less(e, e.info(inst).Level, compute.LevelHealthy)
	e.output(inst, "write", wellFile, "x")
	info, err := e.waitFor(inst, compute.LevelHealthy)
	require.NoError(e, err)
	require.Equal(e, compute.LevelHealthy, info.Level)
}
