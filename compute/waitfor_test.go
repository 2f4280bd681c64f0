package compute_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// running is a machine whose run is under way.
func running(spec compute.Spec) *machine {
	spec.Name = "web"
	m := newMachine(spec)
	m.info.State, m.info.Level, m.info.Run, m.info.Runs = compute.Running, compute.LevelAgent, "run-1", 1
	return m
}

// after changes the machine when the time has passed.
func after(d time.Duration, change func()) { time.AfterFunc(d, change) }

func TestWaitFor(t *testing.T) {
	probe := &compute.Probe{Exec: []string{"check"}}
	for name, c := range map[string]struct {
		level compute.Level
		begin func(m *machine)
		// next happens a minute later.
		next func(info *compute.Info)
	}{
		"created, at once":    {level: compute.LevelCreated, begin: func(m *machine) { m.info.State = compute.Stopped }},
		"nothing, at once":    {level: compute.LevelNone, begin: func(m *machine) { m.info.State = compute.Stopped }},
		"created":             {compute.LevelCreated, func(m *machine) { m.info.State = compute.Creating }, func(i *compute.Info) { i.State = compute.Stopped }},
		"running, at once":    {level: compute.LevelRunning},
		"running":             {compute.LevelRunning, func(m *machine) { m.info.State = compute.Starting }, func(i *compute.Info) { i.State = compute.Running }},
		"running, when known": {compute.LevelRunning, func(m *machine) { m.info.State = compute.Unknown }, func(i *compute.Info) { i.State = compute.Running }},
		"agent":               {compute.LevelAgent, func(m *machine) { m.info.Level = compute.LevelRunning }, func(i *compute.Info) { i.Level = compute.LevelAgent }},
		"address": {
			compute.LevelAddress,
			func(m *machine) { m.info.Endpoints = endpoints("") },
			func(i *compute.Info) { i.Endpoints, i.Level = endpoints("10.0.0.1/24"), compute.LevelAddress },
		},
		"address, of a guest without an agent": {
			compute.LevelAddress,
			func(m *machine) {
				m.info.Level, m.info.Endpoints = compute.LevelRunning, endpoints("10.0.0.1/24")
				m.info.Endpoints[0].Source = "assigned"
			},
			func(i *compute.Info) {
				i.Endpoints = endpoints("10.0.0.1/24")
				i.Endpoints[0].Source = "lease"
			},
		},
		"healthy without a probe": {level: compute.LevelHealthy},
		"healthy without a probe, of a machine that boots": {
			compute.LevelHealthy,
			func(m *machine) { m.info.Kind, m.info.Level = compute.VM, compute.LevelRunning },
			func(i *compute.Info) { i.Level = compute.LevelBooted },
		},
		"healthy, by the provider's word": {
			compute.LevelHealthy,
			func(m *machine) { m.info.Spec.Health, m.info.Supervised = probe, true },
			func(i *compute.Info) { i.Health = compute.HealthHealthy },
		},
		"healthy, by the provider's level though the health check has passed": {
			compute.LevelHealthy,
			func(m *machine) {
				m.info.Spec.Readiness, m.info.Spec.Health, m.info.Supervised = probe, probe, true
				m.info.Health = compute.HealthHealthy
			},
			func(i *compute.Info) { i.Level = compute.LevelHealthy },
		},
		"healthy, by the provider's level": {
			compute.LevelHealthy,
			func(m *machine) { m.info.Spec.Readiness, m.info.Supervised = probe, true },
			func(i *compute.Info) { i.Level = compute.LevelHealthy },
		},
		"healthy without networks": {
			compute.LevelHealthy, func(m *machine) { m.info.Level = compute.LevelNone }, func(i *compute.Info) { i.Level = compute.LevelRunning },
		},
		"foreign instances have no spec": {level: compute.LevelHealthy, begin: func(m *machine) { m.info.Spec = nil }},
	} {
		for kind, wrap := range map[string]func(*machine) compute.Instance{
			"by events":         func(m *machine) compute.Instance { return wrapped{watched{m}} },
			"by asking at last": func(m *machine) compute.Instance { return m },
		} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := running(compute.Spec{})
					if c.begin != nil {
						c.begin(m)
					}
					begun, late := time.Now(), time.Minute
					if c.next == nil {
						late = 0
					} else {
						after(late, func() { m.set(c.next) })
					}
					info, err := compute.WaitFor(t.Context(), wrap(m), c.level)
					require.NoError(t, err)
					assert.Equal(t, m.info.State, info.State)
					took := time.Since(begun)
					assert.GreaterOrEqual(t, took, late)
					if kind == "by events" {
						assert.Equal(t, late, took, "as soon as it is told")
						assert.LessOrEqual(t, m.infos, 4)
					} else {
						assert.LessOrEqual(t, took, late+time.Second, "soon after")
						assert.LessOrEqual(t, m.infos, 75, "the questions become fewer")
					}
				})
			})
		}
	}
}

func TestWaitForOfWhatCannotBe(t *testing.T) {
	for name, c := range map[string]struct {
		level   compute.Level
		begin   func(info *compute.Info)
		message string
	}{
		"stopped":   {compute.LevelRunning, func(i *compute.Info) { i.State = compute.Stopped }, "the instance is stopped, and must be running"},
		"paused":    {compute.LevelRunning, func(i *compute.Info) { i.State = compute.Paused }, "the instance is paused, and must be running"},
		"suspended": {compute.LevelAgent, func(i *compute.Info) { i.State = compute.Suspended }, "the instance is suspended, and must be running"},
		"stopping":  {compute.LevelAgent, func(i *compute.Info) { i.State = compute.Stopping }, "the instance is stopping, and must be running"},
		"failed":    {compute.LevelAgent, func(i *compute.Info) { i.State = compute.Failed }, "the instance is failed, and must be running"},
		"deleting":  {compute.LevelAgent, func(i *compute.Info) { i.State = compute.Deleting }, "the instance is deleting, and must be running"},
		"an address without networks": {
			compute.LevelAddress, func(*compute.Info) {}, "the instance has no network to have an address on",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := running(compute.Spec{})
				c.begin(&m.info)
				begun := time.Now()
				_, err := compute.WaitFor(t.Context(), watched{m}, c.level)
				require.True(t, errdefs.IsFailedPrecondition(err), "%v", err)
				assert.EqualError(t, err, `wait for instance "web": `+c.message)
				assert.Zero(t, time.Since(begun), "at once")
			})
		})
	}
}

func TestWaitForEndsWithTheRun(t *testing.T) {
	exits := map[string]compute.Exit{
		"the run ended with exit code 3":   {Known: true, Code: 3},
		"the run ended with exit code 0":   {Known: true},
		"the run ended by SIGKILL":         {Known: true, Code: 137, Signal: "SIGKILL"},
		"the run ended for want of memory": {Known: true, Code: 137, Signal: "SIGKILL", OOM: true},
		"the run ended, how is not known":  {},
	}
	for message, exit := range exits {
		for kind, wrap := range map[string]func(*machine) compute.Instance{
			"by events": func(m *machine) compute.Instance { return watched{m} },
			"by Wait":   func(m *machine) compute.Instance { return m },
		} {
			t.Run(message+"/"+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := running(compute.Spec{})
					m.info.Endpoints = endpoints("")
					m.logs = lines("1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "the\x1b[31m last")
					begun := time.Now()
					after(time.Minute, func() { m.exit(exit) })
					_, err := compute.WaitFor(t.Context(), wrap(m), compute.LevelAddress)
					require.True(t, errdefs.IsFailedPrecondition(err), "%v", err)
					assert.Equal(t, time.Minute, time.Since(begun), "as soon as it is decided")
					var ended *compute.EndedError
					require.ErrorAs(t, err, &ended)
					exit.Run = "run-1"
					assert.Equal(t, exit, ended.Exit)
					assert.EqualError(t, ended, message)
					var e *resource.Error
					require.ErrorAs(t, err, &e)
					assert.Equal(t, []string{"2", "3", "4", "5", "6", "7", "8", "9", "10", "the\x1b[31m last"}, e.Logs)
					assert.NotContains(t, err.Error(), "\x1b")
				})
			})
		}
	}
}

func TestWaitForIsForOneRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := running(compute.Spec{})
		m.info.Endpoints = endpoints("")
		after(time.Minute, func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			// The run ended and somebody began another: nobody saw it stopped.
			m.info.Run, m.info.Level, m.info.Endpoints = "run-2", compute.LevelAddress, endpoints("10.0.0.1/24")
			m.tell()
		})
		_, err := compute.WaitFor(t.Context(), watched{m}, compute.LevelAddress)
		var ended *compute.EndedError
		require.ErrorAs(t, err, &ended)
		assert.Equal(t, compute.Exit{Run: "run-1"}, ended.Exit, "another run's readiness is not this one's")
	})
}

func TestWaitForTellsNoEarlierRunsExit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := running(compute.Spec{})
		m.info.Run, m.info.Exit, m.info.Endpoints = "run-2", &compute.Exit{Run: "run-1", Known: true, Code: 7}, endpoints("")
		after(time.Minute, func() { m.set(func(i *compute.Info) { i.State = compute.Paused }) })
		_, err := compute.WaitFor(t.Context(), watched{m}, compute.LevelAddress)
		require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
		var ended *compute.EndedError
		assert.NotErrorAs(t, err, &ended, "the run goes on")
	})
}

func TestWaitForReturnsWhatIsKnownOnceTheProbeHasPassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := running(compute.Spec{Readiness: &compute.Probe{Exec: []string{"check"}}})
		inst := &reachable{watched: watched{m}, exec: func(context.Context, compute.ExecSpec) (compute.ExecExit, error) {
			// Whoever makes no event of it must not have it overlooked.
			m.mu.Lock()
			defer m.mu.Unlock()
			m.info.Endpoints = endpoints("10.0.0.1/24")
			return compute.ExecExit{Known: true}, nil
		}}
		info, err := compute.WaitFor(t.Context(), inst, compute.LevelHealthy)
		require.NoError(t, err)
		assert.Equal(t, endpoints("10.0.0.1/24"), info.Endpoints)
	})
}

func TestWaitForWhileStopping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := running(compute.Spec{})
		m.info.Endpoints = endpoints("")
		after(time.Second, func() { m.set(func(i *compute.Info) { i.State = compute.Stopping }) })
		after(time.Minute, func() { m.exit(compute.Exit{Known: true, Code: 7}) })
		_, err := compute.WaitFor(t.Context(), watched{m}, compute.LevelAddress)
		var ended *compute.EndedError
		require.ErrorAs(t, err, &ended)
		assert.Equal(t, 7, ended.Exit.Code)
	})
}

func TestWaitForOfADeletedInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := running(compute.Spec{})
		m.info.Endpoints = endpoints("")
		after(time.Minute, func() { assert.NoError(t, m.Delete(t.Context(), compute.DeleteOptions{Force: true})) })
		_, err := compute.WaitFor(t.Context(), watched{m}, compute.LevelAddress)
		assert.True(t, errdefs.IsNotFound(err), "%v", err)
	})
}

func TestWaitForEndsWithItsContext(t *testing.T) {
	cause := errors.New("the user went away")
	for name, c := range map[string]struct {
		make func(context.Context) (context.Context, context.CancelFunc)
		want error
	}{
		"deadline": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Minute)
		}, context.DeadlineExceeded},
		"deadline with a cause": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeoutCause(ctx, time.Minute, cause)
		}, context.DeadlineExceeded},
		"cancel": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			after(time.Minute, cancel)
			return ctx, cancel
		}, context.Canceled},
		"before": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return ctx, cancel
		}, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			// The bubble ends only when every goroutine of the wait has.
			synctest.Test(t, func(t *testing.T) {
				m := running(compute.Spec{Readiness: &compute.Probe{TCP: "80"}})
				inst := &reachable{watched: watched{m}}
				ctx, cancel := c.make(t.Context())
				defer cancel()
				begun := time.Now()
				_, err := compute.WaitFor(ctx, inst, compute.LevelHealthy)
				assert.ErrorIs(t, err, c.want)
				assert.Nil(t, resource.KindOf(err), "a context's error stays one")
				if name != "before" {
					assert.Equal(t, time.Minute, time.Since(begun))
				}
			})
		})
	}
}

func TestWaitForCarriesOutTheProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := running(compute.Spec{
			Readiness: &compute.Probe{Exec: []string{"check"}, Interval: 50 * time.Millisecond},
			Health:    &compute.Probe{Exec: []string{"other"}},
		})
		begun, asked := time.Now(), 0
		inst := &reachable{watched: watched{m}, exec: func(_ context.Context, spec compute.ExecSpec) (compute.ExecExit, error) {
			assert.Equal(t, []string{"check"}, spec.Process.Command, "readiness comes before health")
			asked++
			if time.Since(begun) < time.Second {
				return compute.ExecExit{Known: true, Code: 1}, nil
			}
			return compute.ExecExit{Known: true}, nil
		}}
		_, err := compute.WaitFor(t.Context(), wrapped{inst}, compute.LevelHealthy)
		require.NoError(t, err)
		assert.Equal(t, time.Second, time.Since(begun))
		assert.Equal(t, 21, asked)
	})
}

func TestWaitForOfAProbeThatCannotBe(t *testing.T) {
	for _, probe := range []*compute.Probe{
		{Exec: []string{"check"}}, {TCP: "80"}, {HTTP: &compute.HTTPProbe{Port: "80"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := running(compute.Spec{Readiness: probe})
			_, err := compute.WaitFor(t.Context(), watched{m}, compute.LevelHealthy)
			assert.ErrorIs(t, err, errors.ErrUnsupported)
		})
	}
}

func TestWaitForWhileTheProbeFailsAndTheRunEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := running(compute.Spec{Readiness: &compute.Probe{TCP: "80"}})
		after(time.Minute, func() { m.exit(compute.Exit{Known: true, Code: 1}) })
		_, err := compute.WaitFor(t.Context(), &reachable{watched: watched{m}}, compute.LevelHealthy)
		var ended *compute.EndedError
		assert.ErrorAs(t, err, &ended)
	})
}

func TestWaitForSurvivesTheEndOfTheEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := running(compute.Spec{})
		m.info.Endpoints = endpoints("")
		after(time.Minute, func() {
			m.set(func(i *compute.Info) { i.Level, i.Endpoints = compute.LevelAddress, endpoints("10.0.0.1/24") })
		})
		_, err := compute.WaitFor(t.Context(), deaf{m}, compute.LevelAddress)
		assert.NoError(t, err)
	})
}

func TestLastLinesWaitsNoLongerThanASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := running(compute.Spec{})
		begun := time.Now()
		assert.Empty(t, compute.LastLines(t.Context(), mute{m}, "run-1", 10))
		assert.Equal(t, time.Second, time.Since(begun))
		assert.Empty(t, compute.LastLines(t.Context(), silent{}, "run-1", 10), "none where none are kept")
	})
}
