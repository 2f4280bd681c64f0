package daemon

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/internal/testprocess"
)

var background = context.Background()

func TestStartRefusesFaultyConfig(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Config)
		field  string
	}{
		"no dir":            {func(c *Config) { c.Dir = "" }, "Dir"},
		"relative dir":      {func(c *Config) { c.Dir = "a/b" }, "Dir"},
		"dir not clean":     {func(c *Config) { c.Dir += "/../x" }, "Dir"},
		"root":              {func(c *Config) { c.Dir = "/" }, "Dir"},
		"newline in dir":    {func(c *Config) { c.Dir += "\n" }, "Dir"},
		"zero in dir":       {func(c *Config) { c.Dir += "\x00" }, "Dir"},
		"dir not UTF-8":     {func(c *Config) { c.Dir += "\xff" }, "Dir"},
		"no name":           {func(c *Config) { c.Name = "" }, "Name"},
		"name with slash":   {func(c *Config) { c.Name = "a/b" }, "Name"},
		"name not ASCII":    {func(c *Config) { c.Name = "dämon" }, "Name"},
		"no command":        {func(c *Config) { c.Command = nil }, "Command"},
		"no ready":          {func(c *Config) { c.Ready = nil }, "Ready"},
		"negative grace":    {func(c *Config) { c.Grace = -1 }, "Grace"},
		"negative timeout":  {func(c *Config) { c.StartTimeout = -1 }, "StartTimeout"},
		"negative log size": {func(c *Config) { c.LogLimit = -1 }, "LogLimit"},
		"relative command": {func(c *Config) {
			c.Command = func(context.Context) ([]string, error) { return []string{"sh"}, nil }
		}, "absolute"},
		"empty command": {func(c *Config) {
			c.Command = func(context.Context) ([]string, error) { return nil, nil }
		}, "absolute"},
	} {
		t.Run(name, func(t *testing.T) {
			_, config := begin(t)
			tt.change(&config)
			_, err := Start(background, config)
			require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
			assert.ErrorContains(t, err, tt.field)
		})
	}
}

func TestStartWithDoneContextDoesNothing(t *testing.T) {
	_, config := begin(t)
	ctx, cancel := context.WithCancel(background)
	cancel()
	_, err := Start(ctx, config)
	require.ErrorIs(t, err, context.Canceled)
	require.NoDirExists(t, config.Dir)
}

func TestStartAndClose(t *testing.T) {
	dir, config := begin(t)
	d, err := Start(background, config)
	require.NoError(t, err)
	s, changed := d.Status()
	assert.Equal(t, Status{State: Running, PID: s.PID}, s)
	assert.Equal(t, []int{s.PID}, running(t, dir))
	require.NoError(t, d.Health())

	require.NoError(t, d.Close(background, false))
	<-changed
	assert.ErrorIs(t, syscall.Kill(s.PID, 0), syscall.ESRCH, "a zombie is left")
	require.NoError(t, d.Close(background, false), "closing twice")
	require.ErrorIs(t, d.Health(), fs.ErrClosed)
	require.ErrorIs(t, d.Stop(background), fs.ErrClosed)
}

func TestLastCloserShutsDown(t *testing.T) {
	dir, config := begin(t)
	first, err := Start(background, config)
	require.NoError(t, err)
	second, err := Start(background, config)
	require.NoError(t, err)
	other := startProgram(t, dir)
	r := other.report()
	pid := pidOf(first)
	s, _ := second.Status()
	assert.Equal(t, Status{State: Running, PID: pid, Adopted: true}, s)
	assert.Equal(t, report{PID: pid, State: "running"}, r)

	require.NoError(t, first.Close(background, false))
	require.NoError(t, second.Close(background, false))
	assert.Equal(t, []int{pid}, running(t, dir), "another program uses it")
	assert.Empty(t, other.do("close").Fault)
	assert.Empty(t, running(t, dir))
	gone(t, pid)
}

func TestKilledUserDoesNotCount(t *testing.T) {
	dir, config := begin(t)
	other := startProgram(t, dir)
	pid := other.report().PID
	d, err := Start(background, config)
	require.NoError(t, err)
	other.kill()
	assert.Equal(t, []int{pid}, running(t, dir), "the daemon outlives its starter")
	require.NoError(t, d.Close(background, false))
	assert.Empty(t, running(t, dir))
}

func TestLeftDaemonIsAdoptedAndReaped(t *testing.T) {
	dir, config := begin(t)
	d, err := Start(background, config)
	require.NoError(t, err)
	pid := pidOf(d)
	require.NoError(t, d.Close(background, true))
	assert.Equal(t, []int{pid}, running(t, dir))

	d, err = Start(background, config)
	require.NoError(t, err)
	s, _ := d.Status()
	assert.Equal(t, Status{State: Running, PID: pid, Adopted: true}, s)
	require.NoError(t, d.Close(background, true))

	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	gone(t, pid)
}

func TestKilledOwnerLeavesDaemonToAdopt(t *testing.T) {
	dir, config := begin(t)
	owner := startProgram(t, dir)
	pid := owner.report().PID
	owner.kill()
	d, err := Start(background, config)
	require.NoError(t, err)
	s, _ := d.Status()
	assert.Equal(t, Status{State: Running, PID: pid, Adopted: true}, s)
	require.NoError(t, d.Close(background, false))
}

func TestManyStartsMakeOneDaemon(t *testing.T) {
	dir, config := begin(t)
	var programs []*program
	for range 3 {
		programs = append(programs, startProgram(t, dir))
	}
	var wg sync.WaitGroup
	daemons := make([]*Daemon, 8)
	for i := range daemons {
		wg.Go(func() {
			d, err := Start(background, config)
			if assert.NoError(t, err) {
				daemons[i] = d
			}
		})
	}
	wg.Wait()
	for _, p := range programs {
		assert.Empty(t, p.report().Fault)
	}
	assert.Len(t, running(t, dir), 1)
	assert.Equal(t, 1, begun(t, config))
	for _, d := range daemons {
		wg.Go(func() { assert.NoError(t, d.Close(background, false)) })
	}
	wg.Wait()
	assert.Len(t, running(t, dir), 1)
	for _, p := range programs {
		assert.Empty(t, p.do("close").Fault)
	}
	assert.Empty(t, running(t, dir))
}

func TestEarlyExitFailsAtOnceWithLog(t *testing.T) {
	dir, config := begin(t)
	behave(t, dir, "broken")
	began := time.Now()
	_, err := Start(background, config)
	require.ErrorIs(t, err, errdefs.ErrUnavailable)
	assert.Less(t, time.Since(began), config.StartTimeout/2)
	assert.ErrorContains(t, err, "exit status 3")
	assert.ErrorContains(t, err, "fault 19")
	assert.ErrorContains(t, err, "no ?[31mbrain", "what a terminal would obey is replaced")
	assert.NotContains(t, err.Error(), "fault 5\n", "the first lines are left out")

	require.NoError(t, os.Remove(filepath.Join(dir, "broken")))
	d, err := Start(background, config)
	require.NoError(t, err, "a failed start can be repeated")
	require.NoError(t, d.Close(background, false))
}

func TestNeverReady(t *testing.T) {
	dir, config := begin(t)
	behave(t, dir, "mute")
	config.StartTimeout = 300 * time.Millisecond
	_, err := Start(background, config)
	require.ErrorIs(t, err, errdefs.ErrUnavailable)
	assert.ErrorContains(t, err, "not ready after 300ms")
	assert.Empty(t, running(t, dir))
}

func TestCancelledStartUndoes(t *testing.T) {
	dir, config := begin(t)
	behave(t, dir, "mute")
	ctx, cancel := context.WithCancel(background)
	ready := config.Ready
	config.Ready = func(ctx context.Context) error {
		if len(running(t, dir)) > 0 {
			cancel()
		}
		return ready(ctx)
	}
	_, err := Start(ctx, config)
	require.ErrorIs(t, err, context.Canceled)
	assert.Empty(t, running(t, dir))
}

func TestCancelledStartLeavesAdopted(t *testing.T) {
	dir, config := begin(t)
	d, err := Start(background, config)
	require.NoError(t, err)
	testprocess.Freeze(t, pidOf(d))
	config.StartTimeout = 200 * time.Millisecond
	_, err = Start(background, config)
	require.ErrorIs(t, err, errdefs.ErrUnavailable)
	assert.Equal(t, []int{pidOf(d)}, running(t, dir))
	require.NoError(t, d.Close(background, false))
}

func TestCommandError(t *testing.T) {
	_, config := begin(t)
	fault := errors.New("no configuration")
	config.Command = func(context.Context) ([]string, error) { return nil, fault }
	_, err := Start(background, config)
	require.ErrorIs(t, err, fault)
}

func TestMissingProgram(t *testing.T) {
	_, config := begin(t)
	config.Command = func(context.Context) ([]string, error) { return []string{"/nonexistent/program"}, nil }
	_, err := Start(background, config)
	require.ErrorIs(t, err, fs.ErrNotExist)
	assert.ErrorContains(t, err, "/nonexistent/program")
}

func TestStopWithOtherUsers(t *testing.T) {
	dir, config := begin(t)
	d, err := Start(background, config)
	require.NoError(t, err)
	other := startProgram(t, dir)
	other.report()
	second, err := Start(background, config)
	require.NoError(t, err)

	require.NoError(t, d.Stop(background))
	assert.Empty(t, running(t, dir))
	until(t, second, func(s Status) bool { return s.State == Stopped })
	require.ErrorIs(t, second.Health(), errdefs.ErrUnavailable)
	assert.Equal(t, "stopped", other.do("restarted").State)
	assert.Empty(t, running(t, dir), "nobody restarts what was stopped on purpose")
	require.NoError(t, second.Close(background, false))
}

func TestStopEndsWhatDoesNotListen(t *testing.T) {
	for name, hang := range map[string]func(t *testing.T, dir string, pid int){
		"stopped": func(t *testing.T, _ string, pid int) {
			testprocess.Freeze(t, pid)
		},
		"deaf to SIGTERM": nil,
	} {
		t.Run(name, func(t *testing.T) {
			dir, config := begin(t)
			config.Grace = 300 * time.Millisecond
			if hang == nil {
				behave(t, dir, "stubborn")
			}
			d, err := Start(background, config)
			require.NoError(t, err)
			if hang != nil {
				hang(t, dir, pidOf(d))
			}
			began := time.Now()
			require.NoError(t, d.Stop(background))
			assert.Empty(t, running(t, dir))
			if hang == nil {
				assert.GreaterOrEqual(t, time.Since(began), config.Grace)
			}
		})
	}
}

func TestContextCutsGraceShort(t *testing.T) {
	dir, config := begin(t)
	behave(t, dir, "stubborn")
	config.Grace = time.Hour
	d, err := Start(background, config)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(background, 100*time.Millisecond)
	defer cancel()
	require.NoError(t, d.Close(ctx, false))
	assert.Empty(t, running(t, dir))
}

func TestCloseWithDoneContextLeaves(t *testing.T) {
	dir, config := begin(t)
	d, err := Start(background, config)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(background)
	cancel()
	require.ErrorIs(t, d.Stop(ctx), context.Canceled)
	require.NoError(t, d.Health(), "a stop with a done context has no effect")
	require.ErrorIs(t, d.Close(ctx, false), context.Canceled)
	assert.Len(t, running(t, dir), 1)
	require.ErrorIs(t, d.Health(), fs.ErrClosed)
}
