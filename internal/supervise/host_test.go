package supervise

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
)

// TestOneSupervisesAtATime has a second one wait until the first ends.
func TestOneSupervisesAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "supervisor")
	inWorld(t, func(w *world) {
		begin := func() (end func()) {
			ctx, cancel := context.WithCancel(context.Background())
			var group sync.WaitGroup
			require.NoError(t, Begin(ctx, path, w, slog.New(slog.DiscardHandler), &group))
			return func() { cancel(); group.Wait() }
		}
		assert.False(t, Runs(path))
		first := begin()
		assert.True(t, Runs(path))
		second := begin()
		id := w.make(Status{Policy: always})
		w.start(id)
		w.end(id, 3)
		w.pass(time.Minute)
		assert.Len(t, w.begun(), 1, "by the first alone")
		first()
		w.pass(time.Second)
		assert.True(t, Runs(path), "the second has taken over")
		w.end(id, 3)
		w.pass(time.Minute)
		assert.Len(t, w.begun(), 1, "by the second")
		third := begin()
		third() // one that waits still
		assert.True(t, Runs(path))
		second()
		assert.False(t, Runs(path))
	})
	_, err := os.Stat(path)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Error(t, Begin(t.Context(), filepath.Join(path, "none", "x"), nil, slog.New(slog.DiscardHandler), new(sync.WaitGroup)))
}

func TestWhatProbesFoundIsJudged(t *testing.T) {
	probe, exit := new(compute.Probe), new(compute.Exit)
	healthy, unhealthy := Findings{Health: compute.HealthHealthy}, Findings{Health: compute.HealthUnhealthy}
	for name, c := range map[string]struct {
		status Status
		health compute.Health
		level  compute.Level
	}{
		"no probe":                  {Status{Run: "1", State: compute.Running}, "", compute.LevelRunning},
		"never ran":                 {Status{State: compute.Stopped, Health: probe}, "", compute.LevelRunning},
		"over":                      {Status{Run: "1", State: compute.Stopped, Exit: exit, Health: probe, Found: healthy}, "", compute.LevelRunning},
		"unknown":                   {Status{Run: "1", State: compute.Unknown, Health: probe, Found: healthy}, "", compute.LevelRunning},
		"nothing found":             {Status{Run: "1", State: compute.Running, Health: probe}, compute.HealthStarting, compute.LevelRunning},
		"unhealthy":                 {Status{Run: "1", State: compute.Running, Health: probe, Found: unhealthy}, compute.HealthUnhealthy, compute.LevelRunning},
		"healthy":                   {Status{Run: "1", State: compute.Running, Health: probe, Found: healthy}, compute.HealthHealthy, compute.LevelHealthy},
		"healthy and paused":        {Status{Run: "1", State: compute.Paused, Health: probe, Found: healthy}, compute.HealthHealthy, compute.LevelRunning},
		"healthy and not yet ready": {Status{Run: "1", State: compute.Running, Health: probe, Readiness: probe, Found: healthy}, compute.HealthHealthy, compute.LevelRunning},
		"ready":                     {Status{Run: "1", State: compute.Running, Readiness: probe, Found: Findings{Ready: true}}, "", compute.LevelHealthy},
	} {
		t.Run(name, func(t *testing.T) {
			info := compute.Info{Level: compute.LevelRunning}
			c.status.Judge(&info)
			assert.Equal(t, c.health, info.Health)
			assert.Equal(t, c.level, info.Level)
		})
	}
}
