package fake_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
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

// shout answers each line of its input in capitals until its end.
func shout(_ context.Context, p *fake.Process) int {
	buf := make([]byte, 256)
	for {
		n, err := p.Stdin.Read(buf)
		if err != nil {
			return codeOf(err)
		}
		fmt.Fprint(p.Stdout, strings.ToUpper(string(buf[:n])))
		fmt.Fprint(p.Stderr, "!")
	}
}

func stdin(s *compute.Spec) { s.Process.Stdin = true }

func TestAttachJoinsTheStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.Test(t, program(shout))
		inst := start(t, p, "web", stdin)
		var out1, err1, out2 bytes.Buffer
		one, err := compute.Attach(t.Context(), inst, compute.AttachOptions{Stdin: strings.NewReader("hello\n"), Stdout: &out1, Stderr: &err1})
		require.NoError(t, err)
		synctest.Wait()
		two, err := compute.Attach(t.Context(), inst, compute.AttachOptions{Stdin: strings.NewReader("again\n"), Stdout: &out2})
		require.NoError(t, err)
		synctest.Wait()
		assert.Equal(t, "HELLO\nAGAIN\n", out1.String(), "everybody gets all output")
		assert.Equal(t, "!!", err1.String())
		assert.Equal(t, "AGAIN\n", out2.String(), "from now on")
		require.NoError(t, two.Close())
		require.NoError(t, two.Close())
		require.NoError(t, two.Wait(t.Context()))
		assert.Equal(t, compute.Running, state(t, inst))

		waited := make(chan error)
		go func() { waited <- one.Wait(t.Context()) }()
		require.NoError(t, inst.Stop(t.Context(), compute.StopOptions{}))
		require.NoError(t, <-waited, "it ends with the run")
	})
}

func TestAttachIsRefused(t *testing.T) {
	p := fake.Test(t, fake.Options{})
	plain := start(t, p, "plain")
	_, err := compute.Attach(t.Context(), plain, compute.AttachOptions{Stdin: strings.NewReader("")})
	require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
	assert.NotErrorIs(t, err, errdefs.ErrInvalidArgument)
	_, err = compute.Attach(t.Context(), plain, compute.AttachOptions{Size: compute.TerminalSize{Width: 1, Height: 1}})
	require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
	a, err := compute.Attach(t.Context(), plain, compute.AttachOptions{})
	require.NoError(t, err)
	require.ErrorIs(t, a.Resize(t.Context(), compute.TerminalSize{}), errdefs.ErrFailedPrecondition)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, a.Wait(ctx), context.Canceled)
	require.NoError(t, a.Close())
	_, err = compute.Attach(t.Context(), create(t, p, "stopped"), compute.AttachOptions{})
	require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
}

func TestConsoleIsOneConnectionAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.Test(t, program(shout))
		_, err := compute.Console(t.Context(), start(t, p, "container"), compute.ConsoleOptions{})
		require.ErrorContains(t, err, "only a virtual machine")
		inst := start(t, p, "web", vm, stdin)
		one, err := compute.Console(t.Context(), inst, compute.ConsoleOptions{})
		require.NoError(t, err)
		_, err = compute.Console(t.Context(), inst, compute.ConsoleOptions{})
		require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
		two, err := compute.Console(t.Context(), inst, compute.ConsoleOptions{TakeOver: true})
		require.NoError(t, err)
		_, err = one.Write([]byte("x"))
		require.Error(t, err)
		rest, _ := io.ReadAll(one)
		assert.Empty(t, rest)
		require.NoError(t, one.Close())
		_, err = two.Write([]byte("hello"))
		require.NoError(t, err)
		synctest.Wait()
		require.NoError(t, inst.Stop(t.Context(), compute.StopOptions{}))
		text, err := io.ReadAll(two)
		require.NoError(t, err, "it ends with the run")
		assert.Equal(t, "HELLO!", string(text))
	})
}

func TestScreenshotDependsOnTheInstance(t *testing.T) {
	p := fake.Test(t, fake.Options{})
	one, err := compute.Screenshot(t.Context(), start(t, p, "one", vm), compute.ScreenshotOptions{})
	require.NoError(t, err)
	two, err := compute.Screenshot(t.Context(), start(t, p, "two", vm), compute.ScreenshotOptions{})
	require.NoError(t, err)
	assert.NotEqual(t, one, two)
	again, err := compute.Screenshot(t.Context(), start(t, fake.Test(t, fake.Options{}), "one", vm), compute.ScreenshotOptions{})
	require.NoError(t, err)
	assert.Equal(t, one, again)
	inst, err := p.Instances().Get(t.Context(), "one")
	require.NoError(t, err)
	_, err = compute.Screenshot(t.Context(), inst, compute.ScreenshotOptions{Screen: 1})
	require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
}

func lines(t *testing.T, inst compute.Instance, opts compute.LogOptions) []string {
	t.Helper()
	all, err := resource.Collect(compute.Logs(t.Context(), inst, opts))
	require.NoError(t, err)
	var out []string
	for _, l := range all {
		text := string(l.Text)
		if len(text) > 20 {
			text = fmt.Sprintf("%d bytes", len(text))
		}
		if l.Partial {
			text += " (partial)"
		}
		out = append(out, string(l.Stream)+": "+text)
	}
	return out
}

func TestLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.Test(t, program(func(_ context.Context, p *fake.Process) int {
			fmt.Fprint(p.Stdout, "one\ntw")
			fmt.Fprint(p.Stderr, "bad")
			time.Sleep(time.Second)
			fmt.Fprint(p.Stdout, "o\n\nend")
			time.Sleep(time.Second)
			return 0
		}))
		begin := time.Now()
		inst := start(t, p, "web")
		first := info(t, inst).Run
		followed := lines(t, inst, compute.LogOptions{Follow: true})
		all := []string{"stdout: one", "stdout: two", "stdout: ", "stdout: end (partial)", "stderr: bad (partial)"}
		assert.Equal(t, all, followed)
		assert.Equal(t, all, lines(t, inst, compute.LogOptions{}))
		assert.Equal(t, all[3:], lines(t, inst, compute.LogOptions{Tail: 2}))
		assert.Equal(t, all, lines(t, inst, compute.LogOptions{Tail: 200}))
		assert.Equal(t, all[4:], lines(t, inst, compute.LogOptions{Streams: []compute.Stream{compute.Stderr}}))
		assert.Equal(t, all[1:], lines(t, inst, compute.LogOptions{Since: begin.Add(time.Second)}))
		assert.Equal(t, all[:1], lines(t, inst, compute.LogOptions{Until: begin.Add(time.Second)}))
		assert.Equal(t, all[2:3], lines(t, inst, compute.LogOptions{Until: begin.Add(2 * time.Second), Tail: 1}))

		require.NoError(t, inst.Start(t.Context(), compute.StartOptions{}))
		synctest.Wait()
		assert.Equal(t, all[:1], lines(t, inst, compute.LogOptions{}))
		assert.Equal(t, all, lines(t, inst, compute.LogOptions{Run: first, Follow: true}))
		_, err := resource.Collect(compute.Logs(t.Context(), inst, compute.LogOptions{Run: "unknown", Follow: true}))
		require.ErrorIs(t, err, errdefs.ErrNotFound)
		until := time.Now().Add(500 * time.Millisecond)
		assert.Equal(t, all[:1], lines(t, inst, compute.LogOptions{Follow: true, Until: until}))
		assert.Equal(t, until, time.Now())
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err = resource.Collect(compute.Logs(ctx, inst, compute.LogOptions{Follow: true}))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = resource.Collect(compute.Logs(t.Context(), inst, compute.LogOptions{Tail: -1}))
		require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
		assert.Empty(t, lines(t, create(t, p, "never"), compute.LogOptions{Follow: true}))
		exit(t, inst)
	})
}

func TestLogsAreBounded(t *testing.T) {
	const bound = 1 << 20
	opts := program(func(_ context.Context, p *fake.Process) int {
		fmt.Fprint(p.Stdout, strings.Repeat("x", 200<<10)+"\n")
		for n := range 100_000 {
			fmt.Fprintf(p.Stdout, "line %06d\n", n)
		}
		return 0
	})
	opts.LogSize = bound
	p := fake.Test(t, opts)
	inst := start(t, p, "web")
	require.Zero(t, exit(t, inst).Code)
	kept := lines(t, inst, compute.LogOptions{})
	size := 0
	for _, l := range kept {
		size += len(strings.TrimPrefix(l, "stdout: ")) + 1
	}
	assert.LessOrEqual(t, size, bound)
	assert.Greater(t, size, bound*9/10)
	assert.Equal(t, "stdout: line 099999", kept[len(kept)-1])

	opts.LogSize = 0
	inst = start(t, fake.Test(t, opts), "web")
	require.Zero(t, exit(t, inst).Code)
	kept = lines(t, inst, compute.LogOptions{})
	assert.Equal(t, []string{"stdout: 65536 bytes (partial)", "stdout: 65536 bytes (partial)", "stdout: 65536 bytes (partial)", "stdout: 8192 bytes"}, kept[:4])
	assert.Len(t, kept, 100_004)
}

func TestCloseEndsTheStreamsAndLeavesTheProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fake.NewBackend(program(shout))
		defer b.Close()
		p := fake.New(fake.Options{Backend: b})
		inst := start(t, p, "web", vm, stdin)
		a, err := compute.Attach(t.Context(), inst, compute.AttachOptions{Stdout: io.Discard})
		require.NoError(t, err)
		c, err := compute.Console(t.Context(), inst, compute.ConsoleOptions{})
		require.NoError(t, err)
		in, _ := io.Pipe()
		e, err := compute.Exec(t.Context(), inst, compute.ExecSpec{Process: compute.Process{Command: []string{"app"}}, Stdin: in, Stdout: io.Discard})
		require.NoError(t, err)
		waits := make(chan error)
		go func() { waits <- a.Wait(t.Context()) }()
		go func() { _, err := e.Wait(t.Context()); waits <- err }()
		synctest.Wait()
		require.NoError(t, p.Close())
		require.ErrorIs(t, <-waits, resource.ErrClosed)
		require.ErrorIs(t, <-waits, resource.ErrClosed)
		require.ErrorIs(t, a.Wait(t.Context()), resource.ErrClosed)
		require.ErrorIs(t, e.Signal(t.Context(), "SIGTERM"), resource.ErrClosed)
		_, _ = io.ReadAll(c) // which would never return otherwise
		require.NoError(t, in.Close())
		synctest.Wait()

		q := fake.Test(t, fake.Options{Backend: b})
		again, err := q.Instances().Get(t.Context(), "web")
		require.NoError(t, err)
		assert.Equal(t, compute.Running, state(t, again))
		require.NoError(t, again.Stop(t.Context(), compute.StopOptions{Grace: time.Second}))
	})
}

func TestForceThatIsAbortedEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.Test(t, program(untilDone))
		inst := start(t, p, "web")
		synctest.Wait()
		begin := time.Now()
		first := make(chan error)
		go func() { first <- inst.Stop(t.Context(), compute.StopOptions{Grace: time.Hour}) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.Error(t, inst.Delete(ctx, compute.DeleteOptions{Force: true, IfRevision: "stale"}))
		require.NoError(t, <-first)
		assert.Equal(t, time.Hour, time.Since(begin))
	})
}

// writer is a function that writes.
type writer func(b []byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

func TestCloseWaitsForWritesButNotForEver(t *testing.T) {
	chatty := func(ctx context.Context, p *fake.Process) int {
		if p.PID == 1 {
			// The attachment is there when there is input.
			if _, err := p.Stdin.Read(make([]byte, 1)); err != nil {
				return 1
			}
		}
		fmt.Fprint(p.Stdout, "hello")
		<-ctx.Done()
		return 0
	}
	starts := map[string]func(t *testing.T, inst compute.Instance, w io.Writer) error{
		"exec": func(t *testing.T, inst compute.Instance, w io.Writer) error {
			return only(compute.Exec(t.Context(), inst, compute.ExecSpec{Process: compute.Process{Command: []string{"app"}}, Stdout: w}))
		},
		"attach": func(t *testing.T, inst compute.Instance, w io.Writer) error {
			return only(compute.Attach(t.Context(), inst, compute.AttachOptions{Stdin: strings.NewReader("."), Stdout: w}))
		},
	}
	closes := map[string]func(b *fake.Backend, p *fake.Provider) error{
		"value": func(_ *fake.Backend, p *fake.Provider) error { return p.Close() },
		"backend": func(b *fake.Backend, p *fake.Provider) error {
			if b == nil {
				b = p.Backend()
			}
			return b.Close()
		},
	}
	for stream, begin := range starts {
		for what, end := range closes {
			for _, shared := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %s, shared %t", stream, what, shared), func(t *testing.T) {
					for name, c := range map[string]struct {
						// takes is how long a Write does; 0 is without end.
						takes, closing time.Duration
					}{
						"blocked": {0, time.Second},
						"slow":    {300 * time.Millisecond, 300 * time.Millisecond},
					} {
						synctest.Test(t, func(t *testing.T) {
							opts := program(chatty)
							// How long programs may take has nothing to do with it.
							opts.ProgramGrace = time.Minute
							var b *fake.Backend
							if shared {
								b = fake.NewBackend(opts)
								defer b.Close()
								opts = fake.Options{Backend: b}
							}
							p := fake.New(opts)
							inst := start(t, p, "web", stdin)
							release := make(chan struct{})
							written := false
							require.NoError(t, begin(t, inst, writer(func(data []byte) (int, error) {
								if c.takes == 0 {
									<-release
								}
								time.Sleep(c.takes)
								written = true
								return len(data), nil
							})))
							synctest.Wait()
							before := time.Now()
							require.NoError(t, end(b, p))
							assert.Equal(t, c.closing, time.Since(before), name)
							assert.Equal(t, c.takes > 0, written, name)
							require.NoError(t, end(b, p))
							require.NoError(t, p.Backend().Close())
							if what == "backend" || !shared {
								assert.Equal(t, c.closing, time.Since(before), "%s: nobody waits twice", name)
							}
							close(release)
							synctest.Wait()
						})
					}
				})
			}
		}
	}
}
