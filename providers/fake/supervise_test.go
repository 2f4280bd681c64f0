package fake_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/resource"
)

// begun notes when runs of a program begin, which then last so long and fail.
type begun struct {
	times []time.Time
	lasts func(run int) time.Duration
}

func (b *begun) program(ctx context.Context, _ *fake.Process) int {
	b.times = append(b.times, time.Now())
	if b.lasts != nil {
		select {
		case <-ctx.Done():
		case <-time.After(b.lasts(len(b.times))):
		}
	}
	return 1
}

// waits are the times between the beginnings of runs.
func (b *begun) waits() []time.Duration {
	var out []time.Duration
	for k := 1; k < len(b.times); k++ {
		out = append(out, b.times[k].Sub(b.times[k-1]))
	}
	return out
}

func (b *begun) supervised() fake.Options {
	opts := program(b.program)
	opts.Supervised = true
	return opts
}

// pass lets time go by.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func onFailure(s *compute.Spec) { s.Restart.Mode = compute.RestartOnFailure }

func TestRestartsWaitLongerEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b begun
		p := fake.Test(t, b.supervised())
		inst := start(t, p, "web", onFailure)
		pass(time.Hour)
		waits := b.waits()
		require.Greater(t, len(waits), 15)
		assert.Equal(t, 100*time.Millisecond, waits[0])
		for k := 1; k < len(waits); k++ {
			assert.Equal(t, min(2*waits[k-1], 5*time.Minute), waits[k])
		}
		assert.Equal(t, len(b.times), info(t, inst).Runs)
		require.NoError(t, inst.Stop(t.Context(), compute.StopOptions{}))
		runs := len(b.times)
		pass(time.Hour)
		assert.Len(t, b.times, runs)
	})
}

func TestRunThatLastsBeginsNewRowOfRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := begun{lasts: func(run int) time.Duration {
			if run == 3 {
				return 10 * time.Second
			}
			return 0
		}}
		p := fake.Test(t, b.supervised())
		inst := start(t, p, "web", onFailure, func(s *compute.Spec) { s.Restart.MaxRetries = 3 })
		pass(time.Hour)
		assert.Equal(t, []time.Duration{
			100 * time.Millisecond, 200 * time.Millisecond,
			10*time.Second + 100*time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond,
		}, b.waits())
		assert.Equal(t, compute.Stopped, state(t, inst))
	})
}

func TestRestartThatFailsCountsAsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b begun
		p := fake.Test(t, b.supervised())
		p.Backend().Fail(fake.On(fake.OpStart).Nth(2).With(errdefs.ErrUnavailable))
		start(t, p, "web", onFailure, func(s *compute.Spec) { s.Restart.MaxRetries = 3 })
		pass(time.Hour)
		assert.Equal(t, []time.Duration{300 * time.Millisecond, 400 * time.Millisecond}, b.waits())
	})
}

func TestNothingIsRestartedWithoutSupervisorOrAfterItsEnd(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, p *fake.Provider, inst compute.Instance){
		"closed": func(t *testing.T, p *fake.Provider, _ compute.Instance) { require.NoError(t, p.Close()) },
		"deleted": func(t *testing.T, _ *fake.Provider, inst compute.Instance) {
			require.NoError(t, inst.Delete(t.Context(), compute.DeleteOptions{}))
		},
		"failed": func(t *testing.T, p *fake.Provider, inst compute.Instance) {
			require.NoError(t, p.Break(inst.ID(), compute.Failed, "broken"))
		},
		"stopped": func(t *testing.T, _ *fake.Provider, inst compute.Instance) {
			require.NoError(t, inst.Stop(t.Context(), compute.StopOptions{}))
		},
		"changed": func(t *testing.T, _ *fake.Provider, inst compute.Instance) {
			require.NoError(t, inst.Update(t.Context(), compute.Change{Restart: &compute.RestartPolicy{}}))
		},
		"unsupervised": nil,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b begun
				opts := b.supervised()
				opts.Supervised = end != nil
				p := fake.Test(t, opts)
				inst := start(t, p, "web", onFailure)
				synctest.Wait()
				require.Equal(t, compute.Stopped, state(t, inst))
				require.Equal(t, end != nil, info(t, inst).Supervised)
				if end != nil {
					end(t, p, inst)
				}
				pass(time.Hour)
				assert.Len(t, b.times, 1)
			})
		})
	}
}

func TestRestartsGoOnAfterCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b begun
		p := fake.Test(t, b.supervised())
		start(t, p, "web", onFailure)
		other := fake.New(fake.Options{Backend: p.Backend()})
		defer other.Close()
		p.Crash()
		pass(time.Second)
		assert.Greater(t, len(b.times), 2)
	})
}

func TestHealthIsCheckedInIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var well atomic.Bool
		p := fake.Test(t, fake.Options{Supervised: true, Programs: map[string]fake.Program{
			"check": func(context.Context, *fake.Process) int {
				if well.Load() {
					return 0
				}
				return 1
			},
		}})
		var events atomic.Int32
		inst := start(t, p, "web", func(s *compute.Spec) { s.Health = &compute.Probe{Exec: []string{"check"}} })
		go func() {
			for e, err := range p.Watch(t.Context(), resource.WatchOptions{}) {
				if err == nil && e.Reason == resource.ReasonHealth {
					events.Add(1)
				}
			}
		}()
		for _, step := range []struct {
			after time.Duration
			do    func()
			want  compute.Health
		}{
			{0, func() {}, compute.HealthStarting},
			{20*time.Second - 1, func() {}, compute.HealthStarting},
			{1, func() {}, compute.HealthUnhealthy},
			{time.Second, func() { well.Store(true) }, compute.HealthUnhealthy},
			{9 * time.Second, func() {}, compute.HealthHealthy},
			// Two failures in a row are none yet.
			{time.Second, func() { well.Store(false) }, compute.HealthHealthy},
			{20 * time.Second, func() { well.Store(true) }, compute.HealthHealthy},
			{time.Hour, func() { well.Store(false) }, compute.HealthHealthy},
			// What is paused is not checked.
			{time.Second, func() { require.NoError(t, compute.Pause(t.Context(), inst)) }, compute.HealthHealthy},
			{time.Hour, func() { require.NoError(t, compute.Resume(t.Context(), inst)) }, compute.HealthHealthy},
			{time.Minute, func() {}, compute.HealthUnhealthy},
		} {
			pass(step.after)
			step.do()
			assert.Equal(t, step.want, info(t, inst).Health)
		}
		assert.EqualValues(t, 3, events.Load())
		require.NoError(t, inst.Stop(t.Context(), compute.StopOptions{}))
		assert.Empty(t, info(t, inst).Health)
	})
}

func TestResetIsProbedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ready atomic.Bool
		ready.Store(true)
		p := fake.Test(t, fake.Options{Supervised: true, Programs: map[string]fake.Program{
			"check": func(context.Context, *fake.Process) int {
				if ready.Load() {
					return 0
				}
				return 1
			},
		}})
		inst := start(t, p, "web", vm, func(s *compute.Spec) { s.Readiness = &compute.Probe{Exec: []string{"check"}} })
		synctest.Wait()
		assert.Equal(t, compute.LevelHealthy, info(t, inst).Level)
		ready.Store(false)
		require.NoError(t, compute.Reset(t.Context(), inst))
		synctest.Wait()
		assert.Less(t, info(t, inst).Level, compute.LevelHealthy)
		ready.Store(true)
		pass(100 * time.Millisecond)
		assert.Equal(t, compute.LevelHealthy, info(t, inst).Level)
	})
}
