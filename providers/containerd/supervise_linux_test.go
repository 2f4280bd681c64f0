package containerd

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

func init() {
	// A process that supervises until it is killed.
	roles["supervisor"] = func() error {
		p, err := New(context.Background(), Options{Address: os.Args[1], Namespace: os.Args[2], StateDir: os.Args[3], Supervise: true})
		if err != nil {
			return err
		}
		fmt.Println("there")
		for {
			time.Sleep(time.Hour) // until the kill
			runtime.KeepAlive(p)
		}
	}
}

// atOnceAlways has each run followed by another.
var atOnceAlways = compute.RestartPolicy{Mode: compute.RestartAlways, Backoff: 10 * time.Millisecond}

// policed makes a running instance with that policy.
func policed(t *testing.T, p *Provider, program ...string) (compute.Instance, string) {
	t.Helper()
	spec := guestSpec("web", program...)
	spec.Restart = atOnceAlways
	inst := start(t, p, spec)
	return inst, infoOf(t, inst).Run
}

func infoOf(t *testing.T, inst compute.Instance) compute.Info {
	t.Helper()
	info, err := inst.Info(t.Context())
	require.NoError(t, err)
	return info
}

// nextRun waits for a run behind one to be under way, and returns its token.
func nextRun(t *testing.T, inst compute.Instance, run string) string {
	t.Helper()
	var info compute.Info
	require.Eventually(t, func() bool {
		info = infoOf(t, inst)
		return info.Run != run && info.State == compute.Running
	}, 30*time.Second, 20*time.Millisecond, "a run behind %s", run)
	return info.Run
}

// fell ends a run as nobody asked for.
func fell(t *testing.T, p *Provider, inst compute.Instance) {
	t.Helper()
	require.NoError(t, p.kill(p.dress(t.Context()), inst.ID(), int(syscall.SIGKILL), true))
}

// TestASupervisorThatIsKilledIsFollowedByAnother has a process supervise, and this one
// wait for its turn.
func TestASupervisorThatIsKilledIsFollowedByAnother(t *testing.T) {
	p := openGuest(t, Options{})
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, p.opts.Address, p.opts.Namespace, p.opts.StateDir)
	cmd.Env = append(os.Environ(), roleVariable+"=supervisor")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "there\n", line)
	again := p.opts
	again.Supervise = true
	heir, err := New(t.Context(), again)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, heir.Close()) })

	inst, run := policed(t, p, "sleep", "1h")
	require.True(t, infoOf(t, inst).Supervised)
	fell(t, p, inst)
	run = nextRun(t, inst, run)
	require.Equal(t, 1, runRestarts(run), "by the process")
	require.NoError(t, cmd.Process.Kill())
	fell(t, p, inst)
	run = nextRun(t, inst, run)
	require.Equal(t, 2, runRestarts(run), "the row goes on")
	require.NoError(t, inst.Delete(t.Context(), compute.DeleteOptions{Force: true}))
}

// TestWhatASupervisorFinds begins to supervise where runs ended before.
func TestWhatASupervisorFinds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end     func(t *testing.T, p *Provider, inst *instance)
		follows bool
	}{
		"an end that is on record": {func(t *testing.T, p *Provider, inst *instance) {
			fell(t, p, inst)
			_, err := p.collect(p.dress(t.Context()), inst.id, "")
			require.NoError(t, err)
		}, true},
		"a task that has ended": {func(t *testing.T, p *Provider, inst *instance) { fell(t, p, inst) }, true},
		"a task that was lost": {func(t *testing.T, p *Provider, inst *instance) {
			ctx := p.dress(t.Context())
			require.NoError(t, p.killAll(ctx, inst.id))
			require.NoError(t, p.deleteTask(ctx, inst.id))
		}, true},
		"a Stop": {func(t *testing.T, p *Provider, inst *instance) {
			require.NoError(t, inst.Stop(t.Context(), compute.StopOptions{Force: true}))
		}, false},
		"a Stop that died in its middle": {func(t *testing.T, p *Provider, inst *instance) {
			ctx := p.dress(t.Context())
			k, err := inst.load(ctx)
			require.NoError(t, err)
			_, err = inst.forgo(ctx, k)
			require.NoError(t, err)
			fell(t, p, inst)
		}, false},
		"a Stop behind an end that is on record": {func(t *testing.T, p *Provider, inst *instance) {
			fell(t, p, inst)
			_, err := p.collect(p.dress(t.Context()), inst.id, "")
			require.NoError(t, err)
			require.NoError(t, inst.Stop(t.Context(), compute.StopOptions{}))
		}, false},
		"an Update behind a Stop": {func(t *testing.T, p *Provider, inst *instance) {
			require.NoError(t, inst.Stop(t.Context(), compute.StopOptions{Force: true}))
			name := "other"
			require.NoError(t, inst.Update(t.Context(), compute.Change{Labels: resource.LabelPatch{"tier": &name}}))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := openGuest(t, Options{})
			p.reaper.stop() // the case says who reaps
			made, run := policed(t, p, "sleep", "1h")
			inst := made.(*instance)
			c.end(t, p, inst)
			// One with a policy, whose end is seen, shows that the supervisor has seen all.
			spec := guestSpec("other", "sleep", "1h")
			spec.Restart = atOnceAlways
			other := start(t, p, spec)
			first := infoOf(t, other).Run
			fell(t, p, other)
			again := p.opts
			again.Supervise = true
			s, err := New(t.Context(), again)
			require.NoError(t, err)
			defer func() { require.NoError(t, s.Close()) }()
			if c.follows {
				require.Equal(t, 1, runRestarts(nextRun(t, inst, run)))
			}
			second := nextRun(t, other, first)
			fell(t, p, other)
			nextRun(t, other, second)
			if !c.follows {
				info := infoOf(t, inst)
				assert.Equal(t, compute.Stopped, info.State)
				assert.Equal(t, run, info.Run)
			}
			for _, i := range []compute.Instance{inst, other} {
				require.NoError(t, i.Delete(t.Context(), compute.DeleteOptions{Force: true}))
			}
		})
	}
}

func TestRunTokensOfRestarts(t *testing.T) {
	now := time.Unix(1_700_000_000, 5).UTC()
	for _, restarts := range []int{0, 1, 12345} {
		run := newRun(now, restarts)
		assert.Equal(t, restarts, runRestarts(run))
		assert.Equal(t, now, runStarted(run))
	}
	for _, other := range []string{"", "x", "a-b-c", "a-b--1", "0-1-x2"} {
		assert.Zero(t, runRestarts(other), other)
	}
}
