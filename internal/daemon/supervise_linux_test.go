package daemon

import (
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestKilledDaemonIsRestarted(t *testing.T) {
	dir, config := begin(t)
	d, err := Start(background, config)
	require.NoError(t, err)
	old := pidOf(d)
	require.NoError(t, syscall.Kill(old, syscall.SIGKILL))
	s := until(t, d, restarted)
	assert.NotEqual(t, old, s.PID)
	assert.Equal(t, []int{s.PID}, running(t, dir))
	assert.ErrorContains(t, s.Err, "signal: killed", "the status keeps the reason")
	require.NoError(t, d.Health())
	gone(t, old)
	require.NoError(t, d.Close(background, false))
}

func TestOneOfManyRestarts(t *testing.T) {
	dir, config := begin(t)
	d, err := Start(background, config)
	require.NoError(t, err)
	second, err := Start(background, config)
	require.NoError(t, err)
	var programs []*program
	for range 3 {
		p := startProgram(t, dir)
		p.report()
		programs = append(programs, p)
	}
	require.NoError(t, syscall.Kill(pidOf(d), syscall.SIGKILL))

	pid := until(t, d, restarted).PID
	assert.Equal(t, pid, until(t, second, restarted).PID)
	starters := 0
	for _, p := range programs {
		r := p.do("restarted")
		assert.Equal(t, pid, r.PID)
		if r.Own {
			starters++
		}
	}
	for _, v := range []*Daemon{d, second} {
		if s, _ := v.Status(); !s.Adopted {
			starters++
		}
	}
	assert.Equal(t, 1, starters)
	assert.Equal(t, 2, begun(t, config))
	require.NoError(t, d.Close(background, false))
	require.NoError(t, second.Close(background, false))
}

func TestAdopterRestartsAfterStarterWasKilled(t *testing.T) {
	dir, config := begin(t)
	owner := startProgram(t, dir)
	pid := owner.report().PID
	d, err := Start(background, config)
	require.NoError(t, err)
	owner.kill()
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	s := until(t, d, restarted)
	assert.False(t, s.Adopted)
	assert.ErrorContains(t, s.Err, "status unknown")
	require.NoError(t, d.Close(background, false))
}

func TestGivesUp(t *testing.T) {
	dir, config := begin(t)
	config.Restarts = 2
	d, err := Start(background, config)
	require.NoError(t, err)
	behave(t, dir, "broken")
	require.NoError(t, syscall.Kill(pidOf(d), syscall.SIGKILL))
	s := until(t, d, func(s Status) bool { return s.State == Failed })
	assert.Zero(t, s.PID)
	require.ErrorIs(t, d.Health(), errdefs.ErrUnavailable)
	assert.ErrorContains(t, d.Health(), "given up after 2 restarts")
	assert.ErrorContains(t, d.Health(), "fault 19")
	assert.Equal(t, 3, begun(t, config))

	require.NoError(t, os.Remove(filepath.Join(dir, "broken")))
	again, err := Start(background, config)
	require.NoError(t, err, "a new use tries anew")
	require.NoError(t, again.Close(background, false))
	require.NoError(t, d.Close(background, false))
}

func TestNeverRestarted(t *testing.T) {
	dir, config := begin(t)
	config.Restarts = -1
	d, err := Start(background, config)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pidOf(d), syscall.SIGKILL))
	until(t, d, func(s Status) bool { return s.State == Failed })
	assert.Empty(t, running(t, dir))
	require.NoError(t, d.Close(background, false))
}

func TestCloseDuringRestart(t *testing.T) {
	dir, config := begin(t)
	d, err := Start(background, config)
	require.NoError(t, err)
	behave(t, dir, "mute")
	require.NoError(t, syscall.Kill(pidOf(d), syscall.SIGKILL))
	until(t, d, func(s Status) bool { return s.State == Restarting })
	require.Eventually(t, func() bool { return len(running(t, dir)) > 0 }, 10*time.Second, time.Millisecond)
	require.ErrorIs(t, d.Health(), errdefs.ErrUnavailable)
	require.NoError(t, d.Close(background, false))
	assert.Empty(t, running(t, dir))
}

func TestRestartRacesWithCloseAndStart(t *testing.T) {
	dir, config := begin(t)
	keep, err := Start(background, config)
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 5 {
				d, err := Start(background, config)
				if !assert.NoError(t, err) {
					return
				}
				s, _ := d.Status()
				_ = syscall.Kill(s.PID, syscall.SIGKILL)
				assert.NoError(t, d.Close(background, false))
			}
		})
	}
	wg.Wait()
	require.NoError(t, keep.Close(background, false))
	assert.Empty(t, running(t, dir))
}

func TestBackoffGrowsToItsLimit(t *testing.T) {
	assert.Zero(t, backoff(1))
	assert.Equal(t, firstBackoff, backoff(2))
	assert.Equal(t, 2*firstBackoff, backoff(3))
	assert.Equal(t, maxBackoff, backoff(1000))
}
