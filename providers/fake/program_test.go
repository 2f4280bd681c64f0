package fake_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
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

func TestProgramSeesItsProcess(t *testing.T) {
	var seen fake.Process
	var hostname, path string
	var spec compute.Spec
	p := fake.Test(t, fake.Options{
		Images: []fake.Image{{
			Name:   "app",
			Config: compute.ImageConfig{Entrypoint: []string{"/usr/bin/app"}, Cmd: []string{"-v"}, Env: []string{"A=image", "B=image"}, User: "svc", Dir: "/srv"},
			Users:  []fake.User{{Name: "svc", UID: 7, GID: 8, Groups: []int{9}}},
		}},
		Programs: map[string]fake.Program{"app": func(_ context.Context, p *fake.Process) int {
			seen.Args, seen.Env, seen.Dir, seen.User, seen.PID = p.Args, p.Env, p.Dir, p.User, p.PID
			hostname, path, spec = p.Hostname(), p.Getenv("PATH"), p.Spec()
			assert.Empty(t, p.Getenv("NOTHING"))
			assert.Equal(t, "web", p.Instance.Name)
			return 3
		}},
	})
	inst := start(t, p, "web", func(s *compute.Spec) {
		s.Process.Args = []string{"-q"}
		s.Process.Env = map[string]string{"B": "spec", "C": ""}
		s.Annotations = resource.Annotations{"note": "x"}
	})
	e := exit(t, inst)
	assert.Equal(t, 3, e.Code)
	assert.True(t, e.Known)
	assert.Equal(t, []string{"/usr/bin/app", "-q"}, seen.Args)
	assert.Equal(t, []string{"A=image", "B=spec", "C=", "HOME=/home/svc", "PATH=" + path}, seen.Env)
	assert.NotEmpty(t, path)
	assert.Equal(t, "/srv", seen.Dir)
	assert.Equal(t, fake.User{Name: "svc", UID: 7, GID: 8, Groups: []int{9}, Home: "/home/svc"}, seen.User)
	assert.Equal(t, 1, seen.PID)
	assert.Equal(t, "web", hostname)
	assert.Equal(t, "x", spec.Annotations["note"])
}

func TestUsersAreThoseOfTheImage(t *testing.T) {
	for user, want := range map[string]fake.User{
		"":             {Name: "root", Home: "/root"},
		"root":         {Name: "root", Home: "/root"},
		"0":            {Name: "root", Home: "/root"},
		"user":         {Name: "user", UID: 1000, GID: 1000, Home: "/home/user"},
		"1000":         {Name: "user", UID: 1000, GID: 1000, Home: "/home/user"},
		"1000:7":       {Name: "user", UID: 1000, GID: 7, Home: "/home/user"},
		"4711":         {UID: 4711, Home: "/"},
		"user:nogroup": {Name: "user", UID: 1000, GID: 65534, Home: "/home/user"},
	} {
		t.Run(user, func(t *testing.T) {
			got := make(chan fake.User, 1)
			p := fake.Test(t, program(func(_ context.Context, p *fake.Process) int {
				got <- p.User
				return 0
			}))
			start(t, p, "web", func(s *compute.Spec) { s.Process.User = user })
			assert.Equal(t, want, <-got)
		})
	}
	p := fake.Test(t, fake.Options{})
	for _, user := range []string{"nobody-knows", "root:nobody-knows"} {
		_, err := p.Instances().Create(t.Context(), compute.Spec{Name: "web", Image: "app", Process: compute.Process{User: user}})
		require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
		var e *resource.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, "process.user", e.Field)
	}
}

func TestCommandsAreFoundByPathAndByName(t *testing.T) {
	says := func(word string) fake.Program {
		return func(_ context.Context, p *fake.Process) int {
			fmt.Fprint(p.Stdout, word)
			return 0
		}
	}
	p := fake.Test(t, fake.Options{
		Images: []fake.Image{{Name: "app", Programs: map[string]fake.Program{"own": says("own"), "/bin/both": says("image")}}},
		Programs: map[string]fake.Program{
			"/opt/tool": says("path"), "name": says("name"), "/bin/both": says("backend"), "echo": says("replaced"),
		},
	})
	inst := start(t, p, "web", func(s *compute.Spec) { s.Process.Env = map[string]string{"PATH": "/bin:/opt"} })
	for command, want := range map[string]string{
		"own": "own", "/anywhere/own": "own", "/bin/both": "image", "both": "image", "/opt/tool": "path", "tool": "path",
		"name": "name", "/sbin/name": "name", "echo": "replaced",
	} {
		out, err := compute.Output(t.Context(), inst, command)
		require.NoError(t, err, command)
		assert.Equal(t, want, string(out), command)
	}
	for _, command := range []string{"nothing", "/other/tool", "/opt/tool/"} {
		_, err := compute.Output(t.Context(), inst, command)
		var e *resource.Error
		require.ErrorAs(t, err, &e, command)
		assert.Equal(t, errdefs.ErrInvalidArgument, e.Kind)
		assert.Equal(t, "process.command", e.Field)
		assert.ErrorContains(t, err, "Options.Programs", "it says how to add one")
	}
	bad := create(t, p, "bad", command("nothing"))
	require.ErrorIs(t, bad.Start(t.Context(), compute.StartOptions{}), errdefs.ErrInvalidArgument)
	assert.Equal(t, compute.Stopped, state(t, bad))
	assert.Empty(t, info(t, bad).Run, "no run is recorded")
}

func TestBuiltInPrograms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.Test(t, fake.Options{})
		inst := start(t, p, "web", func(s *compute.Spec) { s.Process.Env = map[string]string{"A": "1"} })
		for _, c := range []struct {
			args []string
			code int
			out  string
			took time.Duration
		}{
			{[]string{"true"}, 0, "", 0},
			{[]string{"/bin/false"}, 1, "", 0},
			{[]string{"echo", "a", "b"}, 0, "a b\n", 0},
			{[]string{"cat"}, 0, "typed", 0},
			{[]string{"sleep", "1.5"}, 0, "", 1500 * time.Millisecond},
			{[]string{"sleep", "2m"}, 0, "", 2 * time.Minute},
			{[]string{"sleep"}, 1, "", 0},
			{[]string{"sleep", "long"}, 1, "", 0},
		} {
			begin := time.Now()
			out, e := run(t, inst, compute.ExecSpec{Process: compute.Process{Command: c.args}, Stdin: strings.NewReader("typed")})
			assert.Equal(t, c.code, e.Code, c.args)
			assert.Equal(t, c.out, out, c.args)
			assert.Equal(t, c.took, time.Since(begin), c.args)
		}
		out, _ := run(t, inst, compute.ExecSpec{Process: compute.Process{Command: []string{"env"}, Env: map[string]string{"B": "2"}}})
		assert.Contains(t, out, "A=1\nB=2\n")
	})
}

// run executes a process and returns its output.
func run(t *testing.T, inst compute.Instance, spec compute.ExecSpec) (string, compute.ExecExit) {
	t.Helper()
	var out bytes.Buffer
	spec.Stdout = &out
	e, err := compute.Exec(t.Context(), inst, spec)
	require.NoError(t, err)
	exit, err := e.Wait(t.Context())
	require.NoError(t, err)
	return out.String(), exit
}

func TestProgramThatPanicsLeavesItsStackInTheLog(t *testing.T) {
	p := fake.Test(t, program(func(context.Context, *fake.Process) int { panic("out of cheese") }))
	inst := start(t, p, "web")
	assert.Equal(t, 2, exit(t, inst).Code)
	var stderr bytes.Buffer
	require.NoError(t, compute.CopyLogs(t.Context(), inst, compute.LogOptions{}, nil, &stderr))
	assert.Contains(t, stderr.String(), "panic: out of cheese")
	assert.Contains(t, stderr.String(), "program_test.go")
}

func TestProgramThatEndsItsGoroutineEndsItsProcess(t *testing.T) {
	p := fake.Test(t, program(func(context.Context, *fake.Process) int {
		runtime.Goexit() // as the FailNow of a test does
		return 0
	}))
	assert.Equal(t, 2, exit(t, start(t, p, "web")).Code)
}

func TestProgramThatDoesNotReturnIsAbandonedAndNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		r := &recorder{}
		p := fake.Test(r, fake.Options{
			ProgramGrace: 3 * time.Second,
			Programs:     map[string]fake.Program{"app": stubborn(release)},
		})
		inst := start(t, p, "web")
		begin := time.Now()
		require.NoError(t, inst.Stop(t.Context(), compute.StopOptions{Force: true}))
		assert.Equal(t, 3*time.Second, time.Since(begin))
		assert.Equal(t, 137, exit(t, inst).Code)
		assert.Equal(t, compute.Stopped, state(t, inst))
		d, err := p.Describe(t.Context())
		require.NoError(t, err)
		require.Len(t, d.Problems, 1)
		assert.Contains(t, d.Problems[0], `"app" of instance "web"`)
		start(t, p, "other")
		r.end()
		assert.Len(t, r.errors, 2)
		close(release)
	})
}

func TestOutOfMemoryEndsTheRun(t *testing.T) {
	p := fake.Test(t, program(func(ctx context.Context, p *fake.Process) int {
		assert.NoError(t, p.Alloc(6*resource.MiB))
		p.Free(2 * resource.MiB)
		assert.NoError(t, p.Alloc(6*resource.MiB))
		assert.ErrorIs(t, p.Alloc(1), errdefs.ErrResourceExhausted)
		<-ctx.Done()
		assert.Error(t, p.Alloc(1), "a killed process allocates nothing")
		return 0
	}))
	inst := start(t, p, "web", func(s *compute.Spec) { s.Resources.Memory = 10 * resource.MiB })
	e := exit(t, inst)
	assert.True(t, e.OOM)
	assert.Equal(t, 137, e.Code)
	assert.Equal(t, "SIGKILL", e.Signal)
}

func TestOutOfMemoryOfAnExecLeavesTheRun(t *testing.T) {
	p := fake.Test(t, fake.Options{Programs: map[string]fake.Program{
		"hog": func(_ context.Context, p *fake.Process) int {
			return map[bool]int{true: 1}[p.Alloc(resource.GiB) != nil]
		},
	}})
	inst := start(t, p, "web", func(s *compute.Spec) { s.Resources.Memory, s.Resources.Swap = resource.MiB, resource.MiB })
	_, e := run(t, inst, compute.ExecSpec{Process: compute.Process{Command: []string{"hog"}}})
	assert.Equal(t, 137, e.Code)
	assert.Equal(t, compute.Running, state(t, inst))
	stats := statsOf(t, p)
	assert.Equal(t, int64(1), stats.Memory.OOMKills)
	assert.Equal(t, resource.MiB, stats.Memory.Limit)
}

func statsOf(t *testing.T, p *fake.Provider) compute.Stats {
	t.Helper()
	all, err := resource.Collect(p.Instances().Stats(t.Context(), compute.Filter{}))
	require.NoError(t, err)
	require.Len(t, all, 1)
	return all[0]
}

func TestStatsCountWhatSpins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.Test(t, fake.Options{Programs: map[string]fake.Program{
			"spin": func(ctx context.Context, p *fake.Process) int {
				return map[bool]int{true: 1}[p.Spin(ctx, 10*time.Second) != nil]
			},
		}})
		inst := start(t, p, "web", func(s *compute.Spec) { s.Resources.CPUs = 1.5 })
		before := statsOf(t, p)
		assert.Zero(t, before.CPU.Usage)
		assert.Equal(t, int64(1), before.PIDs)
		assert.Positive(t, before.Memory.Usage)
		var execs []compute.Execution
		for range 2 {
			e, err := compute.Exec(t.Context(), inst, compute.ExecSpec{Process: compute.Process{Command: []string{"spin"}}})
			require.NoError(t, err)
			execs = append(execs, e)
		}
		synctest.Wait()
		time.Sleep(4 * time.Second)
		after := statsOf(t, p)
		assert.Equal(t, 6*time.Second, after.CPU.Usage, "two want one and a half for four seconds")
		assert.Equal(t, 2*time.Second, after.CPU.Throttled)
		assert.Equal(t, int64(3), after.PIDs)
		rate, ok := compute.RateOf(before, after)
		assert.True(t, ok)
		assert.InDelta(t, 1.5, rate.CPUs, 0.01)

		require.NoError(t, compute.Pause(t.Context(), inst))
		time.Sleep(time.Minute)
		assert.Equal(t, after.CPU, statsOf(t, p).CPU, "what is paused computes nothing")
		require.NoError(t, compute.Resume(t.Context(), inst))
		for _, e := range execs {
			exit, err := e.Wait(t.Context())
			require.NoError(t, err)
			assert.Zero(t, exit.Code)
		}
	})
}

func TestPausedProgramStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.Test(t, program(func(ctx context.Context, p *fake.Process) int {
			time.Sleep(time.Second)
			fmt.Fprintln(p.Stdout, "one second later")
			return 0
		}))
		inst := start(t, p, "web")
		for _, stop := range []struct {
			how, goOn func() error
			state     compute.State
		}{
			{func() error { return compute.Pause(t.Context(), inst) }, func() error { return compute.Resume(t.Context(), inst) }, compute.Paused},
			{func() error { return compute.Suspend(t.Context(), inst, compute.SuspendOptions{}) }, func() error { return inst.Start(t.Context(), compute.StartOptions{}) }, compute.Suspended},
		} {
			require.NoError(t, inst.Start(t.Context(), compute.StartOptions{}))
			token := info(t, inst).Run
			require.NoError(t, stop.how())
			time.Sleep(time.Hour)
			assert.Equal(t, stop.state, state(t, inst))
			lines, err := resource.Collect(compute.Logs(t.Context(), inst, compute.LogOptions{}))
			require.NoError(t, err)
			assert.Empty(t, lines)
			require.NoError(t, stop.goOn())
			assert.Equal(t, token, info(t, inst).Run, "the run goes on")
			e := exit(t, inst)
			assert.Equal(t, token, e.Run)
			assert.Zero(t, e.Code)
		}
	})
}

func TestSignalsReachWhoAsksForThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.Test(t, fake.Options{Programs: map[string]fake.Program{
			"app": func(ctx context.Context, p *fake.Process) int {
				for {
					select {
					case s := <-p.Signals():
						fmt.Fprintln(p.Stdout, s)
						if s == "SIGTERM" {
							return 5
						}
					case <-ctx.Done():
						return 1
					}
				}
			},
			"deaf": func(ctx context.Context, _ *fake.Process) int {
				<-ctx.Done()
				return 0
			},
			"suicide": func(ctx context.Context, p *fake.Process) int {
				assert.Error(t, p.Raise("NONSENSE"))
				assert.NoError(t, p.Raise("SIGSEGV"))
				<-ctx.Done()
				return 0
			},
		}})
		inst := start(t, p, "web", func(s *compute.Spec) { s.StopSignal = "SIGUSR1" })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, inst.Stop(ctx, compute.StopOptions{}), context.DeadlineExceeded)
		assert.Equal(t, compute.Running, state(t, inst))
		require.NoError(t, inst.Stop(t.Context(), compute.StopOptions{Signal: "TERM"}))
		assert.Equal(t, 5, exit(t, inst).Code)
		assert.Equal(t, "stopped", exit(t, inst).Reason)
		var out bytes.Buffer
		require.NoError(t, compute.CopyLogs(t.Context(), inst, compute.LogOptions{}, &out, nil))
		assert.Equal(t, "SIGUSR1\nSIGTERM\n", out.String())

		host := start(t, p, "host")
		e, err := compute.Exec(t.Context(), host, compute.ExecSpec{Process: compute.Process{Command: []string{"deaf"}}})
		require.NoError(t, err)
		require.NoError(t, e.Signal(t.Context(), "SIGCHLD"), "which does nothing")
		require.ErrorIs(t, e.Signal(t.Context(), "NONSENSE"), errdefs.ErrInvalidArgument)
		require.NoError(t, e.Signal(t.Context(), "SIGHUP"))
		x, err := e.Wait(t.Context())
		require.NoError(t, err)
		assert.Equal(t, compute.ExecExit{Known: true, Code: 129, Signal: "SIGHUP"}, x)
		require.ErrorIs(t, e.Signal(t.Context(), "SIGHUP"), errdefs.ErrNotFound)

		_, x = run(t, host, compute.ExecSpec{Process: compute.Process{Command: []string{"suicide"}}})
		assert.Equal(t, 139, x.Code)
	})
}

func TestBackgroundChildren(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.Test(t, fake.Options{Programs: map[string]fake.Program{
			"parent": func(_ context.Context, p *fake.Process) int {
				assert.Error(t, p.Spawn())
				assert.ErrorIs(t, p.Spawn("nothing"), errdefs.ErrNotFound)
				return codeOf(p.Spawn("child", p.Args[1]))
			},
			"child": func(ctx context.Context, p *fake.Process) int {
				d, err := time.ParseDuration(p.Args[1])
				assert.NoError(t, err)
				select {
				case <-time.After(d):
					fmt.Fprint(p.Stdout, "late")
				case <-ctx.Done():
				}
				return 0
			},
		}})
		inst := start(t, p, "web")
		begin := time.Now()
		out, e := run(t, inst, compute.ExecSpec{Process: compute.Process{Command: []string{"parent", "500ms"}}})
		assert.Equal(t, "late", out, "a child that writes soon enough is waited for")
		assert.False(t, e.Cut)
		assert.Equal(t, 500*time.Millisecond, time.Since(begin))
		out, e = run(t, inst, compute.ExecSpec{Process: compute.Process{Command: []string{"parent", "1h"}}})
		assert.Empty(t, out)
		assert.True(t, e.Cut)
		assert.Equal(t, 500*time.Millisecond+compute.DefaultDrain, time.Since(begin))
		assert.Equal(t, int64(2), statsOf(t, p).PIDs, "the child outlives its parent")
		require.NoError(t, inst.Stop(t.Context(), compute.StopOptions{}))
		assert.Less(t, time.Since(begin), time.Minute, "and ends with the run")
	})
}

func codeOf(err error) int {
	if err != nil {
		return 1
	}
	return 0
}

func TestProcessLimit(t *testing.T) {
	p := fake.Test(t, fake.Options{})
	inst := start(t, p, "web", func(s *compute.Spec) { s.Resources.PIDs = 2 })
	spec := compute.ExecSpec{Process: compute.Process{Command: []string{"sleep", "infinity"}}}
	_, err := compute.Exec(t.Context(), inst, spec)
	require.NoError(t, err)
	_, err = compute.Exec(t.Context(), inst, spec)
	require.ErrorIs(t, err, errdefs.ErrResourceExhausted)
}

func TestTerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.Test(t, fake.Options{Programs: map[string]fake.Program{
			"size": func(ctx context.Context, p *fake.Process) int {
				signals := p.Signals()
				fmt.Fprintln(p.Stderr, p.TTY, p.TerminalSize(), p.Getenv("TERM"))
				select {
				case s := <-signals:
					fmt.Fprintln(p.Stdout, s, p.TerminalSize())
				case <-ctx.Done():
				}
				return 0
			},
		}})
		inst := start(t, p, "web")
		var out, errs bytes.Buffer
		e, err := compute.Exec(t.Context(), inst, compute.ExecSpec{
			Process: compute.Process{Command: []string{"size"}, TTY: true}, Stdout: &out, Stderr: &errs,
		})
		require.NoError(t, err)
		synctest.Wait()
		require.NoError(t, e.Resize(t.Context(), compute.TerminalSize{Width: 100, Height: 50}))
		_, err = e.Wait(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "true {80 24} xterm\r\nSIGWINCH {100 50}\r\n", out.String())
		assert.Empty(t, errs.String(), "a terminal joins the streams")
		require.ErrorIs(t, e.Resize(t.Context(), compute.TerminalSize{}), errdefs.ErrNotFound)

		plain, err := compute.Exec(t.Context(), inst, compute.ExecSpec{Process: compute.Process{Command: []string{"sleep", "1"}}})
		require.NoError(t, err)
		require.ErrorIs(t, plain.Resize(t.Context(), compute.TerminalSize{}), errdefs.ErrFailedPrecondition)
	})
}

// blocked never returns from Read or Write until it is released.
type blocked chan struct{}

func (b blocked) Read([]byte) (int, error)  { <-b; return 0, io.EOF }
func (b blocked) Write([]byte) (int, error) { <-b; return 0, io.ErrClosedPipe }

func TestExecWithStreamsThatBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.Test(t, fake.Options{})
		inst := start(t, p, "web")
		exec := func(command string, stdin io.Reader, stdout io.Writer) compute.Execution {
			e, err := compute.Exec(t.Context(), inst, compute.ExecSpec{
				Process: compute.Process{Command: []string{command}}, Stdin: stdin, Stdout: stdout,
			})
			require.NoError(t, err)
			return e
		}
		wait := func(e compute.Execution) (compute.ExecExit, error) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			return e.Wait(ctx)
		}
		stuck := make(blocked)
		// A Read that blocks keeps nothing from ending.
		exit, err := wait(exec("echo", stuck, io.Discard))
		require.NoError(t, err)
		assert.Equal(t, compute.ExecExit{Known: true}, exit)
		// A Write that blocks keeps Wait, as output is still to be written, until its
		// context ends. A full pipe blocks the process, which a signal ends all the
		// same.
		e := exec("cat", bytes.NewReader(make([]byte, 1<<20)), stuck)
		synctest.Wait()
		require.NoError(t, e.Signal(t.Context(), "SIGTERM"))
		_, err = wait(e)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		close(stuck)
		exit, err = wait(e)
		require.NoError(t, err)
		assert.Equal(t, 143, exit.Code)
		assert.False(t, exit.Cut)
	})
}

func TestMegabytesThroughAPipe(t *testing.T) {
	p := fake.Test(t, fake.Options{})
	inst := start(t, p, "web")
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	out, e := run(t, inst, compute.ExecSpec{Process: compute.Process{Command: []string{"cat"}}, Stdin: bytes.NewReader(data)})
	assert.Zero(t, e.Code)
	assert.True(t, bytes.Equal(data, []byte(out)))
}
