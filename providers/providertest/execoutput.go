package providertest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
)

func execOutputCases() []testCase {
	exec := has(compute.FeatureExec)
	return []testCase{
		{"The two streams are told apart", has(compute.FeatureExec, compute.FeatureExecSplit), outputSplit},
		{"Nothing of 10 MiB on both streams is lost under load", has(compute.FeatureExec, compute.FeatureExecSplit), outputFlood},
		{"Nothing of a short output is lost, however often", exec, outputShort},
		{"Output without a newline at its end is whole", exec, outputNoNewline},
		{"Output is written while the process runs", exec, outputStreams},
		{"A stream that nobody wants is discarded", exec, outputDiscarded},
		{"Wait returns when a child of the process still holds the output open", exec, outputHeld},
		{"What such a child writes within the drain is not lost", exec, outputDrained},
		{"A grandchild does not hold an execution either", exec, outputOrphan},
		{"A slow writer of the caller's slows the process and loses nothing", exec, outputSlowWriter},
		{"A Write that takes longer than the drain is waited for, and is no silence", exec, outputStuckWriter},
		{"A writer of the caller's that fails does not keep the execution from ending", exec, outputFailingWriter},
		{"Output returns the standard output, and an error with the code and the standard error", has(compute.FeatureExec, compute.FeatureExecSplit), outputHelper},
		{"Output whose context ends does not leave the process behind", has(compute.FeatureExec, compute.FeatureExecSignal), outputHelperCancelled},
	}
}

func outputSplit(e *env) {
	r := e.exec(e.reachable(), "both", "3")
	require.Equal(e, "out 1\nout 2\nout 3\n", r.stdout)
	require.Equal(e, "err 1\nerr 2\nerr 3\n", r.stderr)
}

// busy keeps every processor occupied until the function that it returns is
// called.
func busy() func() {
	ctx, cancel := context.WithCancel(context.Background())
	n := runtime.GOMAXPROCS(0)
	done := make(chan struct{}, n)
	for range n {
		go func() {
			for x := uint64(1); ctx.Err() == nil; {
				for range 1 << 12 {
					x = x*6364136223846793005 + 1
				}
				runtime.Gosched()
			}
			done <- struct{}{}
		}()
	}
	return func() {
		cancel()
		for range n {
			<-done
		}
	}
}

func outputFlood(e *env) {
	const size = 10 << 20
	inst := e.reachable()
	idle := busy()
	defer idle()
	r := e.exec(inst, "flood", fmt.Sprint(size), "both")
	require.Zero(e, r.exit.Code)
	require.False(e, r.exit.Cut)
	e.flooded("stdout", size, []byte(r.stdout))
	e.flooded("stderr", size, []byte(r.stderr))
}

func outputShort(e *env) {
	inst := e.reachable()
	idle := busy()
	defer idle()
	for i := range 20 {
		text := fmt.Sprint("number ", i)
		require.Equal(e, text, e.output(inst, "echo", text))
	}
}

func outputNoNewline(e *env) {
	require.Equal(e, "no newline", e.exec(e.reachable(), "printf", "no newline").stdout)
}

func outputStreams(e *env) {
	inst := e.reachable()
	// background returns when the first line is there, which "ignore" prints
	// though it never ends.
	x, out := e.background(inst, guestExec("ignore"))
	require.Equal(e, "ready\n", out.String())
	e.end(inst, x)
}

func outputDiscarded(e *env) {
	inst := e.reachable()
	var stderr buffer
	spec := guestExec("flood", "1000000", "both")
	spec.Stderr = &stderr
	x, err := e.launch(e.ctx, inst, spec)
	require.NoError(e, err)
	require.Zero(e, e.execWait(x).Code)
	if e.offers(compute.FeatureExecSplit) {
		e.flooded("stderr", 1000000, []byte(stderr.String()))
	}
}

func outputHeld(e *env) {
	inst := e.reachable()
	spec := guestExec("background", "1h")
	spec.Drain = 100 * time.Millisecond
	r := e.execSpec(inst, spec)
	require.Zero(e, r.exit.Code)
	require.True(e, r.exit.Cut, "the exit says that the output was still held open")
	require.Empty(e, r.stdout)
	e.inState(inst, compute.Running)
}

func outputDrained(e *env) {
	spec := guestExec("background", "50ms")
	spec.Drain = e.s.h.Patience
	r := e.execSpec(e.reachable(), spec)
	require.Zero(e, r.exit.Code)
	require.False(e, r.exit.Cut)
	require.Equal(e, "background done\n", r.stdout)
}

func outputOrphan(e *env) {
	spec := guestExec("orphan", "1h")
	spec.Drain = 100 * time.Millisecond
	r := e.execSpec(e.reachable(), spec)
	require.Zero(e, r.exit.Code)
	require.True(e, r.exit.Cut)
}

// slowWriter takes what is written in small pieces and gives way to others in
// between.
type slowWriter struct{ buffer }

func (w *slowWriter) Write(p []byte) (int, error) {
	for at := 0; at < len(p); at += 1 << 10 {
		runtime.Gosched()
		_, _ = w.buffer.Write(p[at:min(at+1<<10, len(p))])
	}
	return len(p), nil
}

func outputSlowWriter(e *env) {
	const size = 1 << 20
	var out slowWriter
	spec := guestExec("flood", fmt.Sprint(size))
	spec.Stdout = &out
	x, err := e.launch(e.ctx, e.reachable(), spec)
	require.NoError(e, err)
	require.Zero(e, e.execWait(x).Code)
	e.flooded("stdout", size, []byte(out.String()))
}

// tardyWriter takes its time for every Write.
type tardyWriter struct {
	buffer
	each  time.Duration
	under atomic.Int32
}

func (w *tardyWriter) Write(p []byte) (int, error) {
	w.under.Add(1)
	defer w.under.Add(-1)
	time.Sleep(w.each) // a writer that is slow is what is tested
	return w.buffer.Write(p)
}

func outputStuckWriter(e *env) {
	const size = 48 << 10
	spec := guestExec("flood", fmt.Sprint(size))
	spec.Drain = 20 * time.Millisecond
	out := tardyWriter{each: 5 * spec.Drain}
	spec.Stdout = &out
	x, err := e.launch(e.ctx, e.reachable(), spec)
	require.NoError(e, err)
	exit := e.execWait(x)
	require.Zero(e, out.under.Load(), "writes under way when Wait has returned")
	require.Zero(e, exit.Code)
	require.False(e, exit.Cut, "nobody holds the output open")
	e.flooded("stdout", size, []byte(out.String()))
}

type failingWriter struct{}

var errNoRoom = errors.New("no room")

func (failingWriter) Write([]byte) (int, error) { return 0, errNoRoom }

func outputFailingWriter(e *env) {
	inst := e.reachable()
	spec := guestExec("flood", "1000000")
	spec.Stdout = failingWriter{}
	x, err := e.launch(e.ctx, inst, spec)
	require.NoError(e, err)
	_ = e.returns("an execution whose output fails", func() error { _, err := x.Wait(e.ctx); return err })
	require.Equal(e, "here", e.output(inst, "echo", "here"))
}

func outputHelper(e *env) {
	inst := e.reachable()
	out, err := compute.Output(e.ctx, inst, GuestPath, "both", "2")
	require.NoError(e, err)
	require.Equal(e, "out 1\nout 2\n", string(out))
	_, err = compute.Output(e.ctx, inst, GuestPath, "read", "/no-such-file")
	var exit *compute.ExitError
	require.ErrorAs(e, err, &exit)
	require.Equal(e, 1, exit.Exit.Code)
	require.Contains(e, string(exit.Stderr), "no-such-file")
}

func outputHelperCancelled(e *env) {
	inst := e.reachable()
	ctx, cancel := context.WithTimeout(e.ctx, 100*time.Millisecond)
	defer cancel()
	_, err := compute.Output(ctx, inst, GuestPath, "sleep", "1h")
	require.ErrorIs(e, err, context.DeadlineExceeded)
	require.Equal(e, "here", e.output(inst, "echo", "here"))
}
