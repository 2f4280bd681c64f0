package providertest

import (
	"context"

	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

func closeCases() []testCase {
	cases := []testCase{
		{"Closing twice is nil", nil, closeTwice},
		{"Close from many places at once is nil", nil, closeRace},
		{"Close leaves what runs alone", nil, closeLeavesRuns},
		{"Close ends a Wait with ErrClosed", nil, closeEndsWait},
		{"Close ends following logs with ErrClosed", has(compute.FeatureLogs), closeEndsLogs},
		{"Close ends a Stop that waits for the grace, and the instance stays in a state of the table", has(compute.FeatureLogs), closeEndsStop},
		{"Close of one value leaves others alone", nil, closeLeavesOthers},
		{"After Close, every method of an execution that runs is ErrClosed", has(compute.FeatureExec), closedExecution("trap")},
		{"After Close, every method of an execution that has ended is ErrClosed", has(compute.FeatureExec), closedExecution("exit", "0")},
		{"Close ends a Wait for an execution with ErrClosed", has(compute.FeatureExec), closeEndsExecWait},
		{"After Close, every method of an attachment is ErrClosed", has(compute.FeatureAttach), closedAttachment},
	}
	for _, o := range operations() {
		cases = append(cases, testCase{
			name:  "After Close, " + o.name + " of a handle is ErrClosed",
			needs: o.needs,
			run: func(e *env) {
				p := e.open(OpenOptions{})
				inst, err := p.Instances().Create(e.ctx, e.spec("web", "sleep", "1h"))
				require.NoError(e, err)
				require.NoError(e, p.Close())
				err = e.returns(o.name, func() error { return o.do(e.ctx, e, inst) })
				e.fails(err, resource.ErrClosed)
				e.inState(e.instances().Handle(inst.ID()), compute.Stopped)
			},
		})
	}
	for _, o := range providerOperations() {
		cases = append(cases, testCase{
			name:  "After Close, the call to " + o.name + " is ErrClosed",
			needs: o.needs,
			run: func(e *env) {
				p := e.open(OpenOptions{})
				require.NoError(e, p.Close())
				err := e.returns(o.name, func() error { return o.do(e.ctx, e, p) })
				re := e.fails(err, resource.ErrClosed)
				if o.word != "" {
					require.Equal(e, o.word, re.Op)
				}
				done, cancel := context.WithCancel(e.ctx)
				cancel()
				e.fails(o.do(done, e, p), resource.ErrClosed)
			},
		})
	}
	return cases
}

func closeTwice(e *env) {
	p := e.open(OpenOptions{})
	require.NoError(e, p.Close())
	require.NoError(e, p.Close())
}

func closeRace(e *env) {
	p := e.open(OpenOptions{})
	for _, err := range e.together(crowd, func(int) error { return p.Close() }) {
		require.NoError(e, err)
	}
}

func closeLeavesRuns(e *env) {
	p := e.open(OpenOptions{})
	inst, err := p.Instances().Create(e.ctx, e.spec("web", "sleep", "1h"))
	require.NoError(e, err)
	require.NoError(e, inst.Start(e.ctx, compute.StartOptions{}))
	require.NoError(e, p.Close())
	e.inState(e.instances().Handle(inst.ID()), compute.Running)
}

func closeEndsWait(e *env) {
	e.running("web")
	p := e.open(OpenOptions{})
	inst, err := p.Instances().Get(e.ctx, "web")
	require.NoError(e, err)
	done := make(chan error, 1)
	go func() {
		_, err := inst.Wait(e.ctx, compute.WaitOptions{})
		done <- err
	}()
	require.NoError(e, e.returns("Close", p.Close))
	e.fails(e.returns("Wait", func() error { return <-done }), resource.ErrClosed)
}

func closeEndsLogs(e *env) {
	e.ready("web", "signals")
	p := e.open(OpenOptions{})
	inst, err := p.Instances().Get(e.ctx, "web")
	require.NoError(e, err)
	yields, following := 0, make(chan struct{})
	var last error
	done := make(chan error, 1)
	go func() {
		for _, err := range compute.Logs(e.ctx, inst, compute.LogOptions{Follow: true}) {
			if yields++; yields == 1 {
				close(following)
			}
			last = err
		}
		done <- last
	}()
	require.NoError(e, e.returns("the first line", func() error { <-following; return nil }))
	require.NoError(e, e.returns("Close", p.Close))
	e.fails(e.returns("the logs", func() error { return <-done }), resource.ErrClosed)
	require.Equal(e, 2, yields, "one line and one error")
}

func closeEndsStop(e *env) {
	e.needsSignals()
	here := e.ready("web", "signals")
	p := e.open(OpenOptions{})
	inst, err := p.Instances().Get(e.ctx, "web")
	require.NoError(e, err)
	done := make(chan error, 1)
	go func() {
		done <- inst.Stop(e.ctx, compute.StopOptions{Signal: "SIGHUP", Grace: e.s.h.Patience * 10})
	}()
	e.awaitLine(here, "HUP")
	require.NoError(e, e.returns("Close", p.Close))
	e.fails(e.returns("Stop", func() error { return <-done }), resource.ErrClosed)
	e.kill(here)
	e.inState(here, compute.Stopped)
}

func closeLeavesOthers(e *env) {
	inst := e.running("web")
	w := e.watch(e.p, onlyInstances)
	w.synced()
	other := e.open(OpenOptions{})
	require.NoError(e, other.Close())
	e.kill(inst)
	w.expect(exited("web"))
}

// closedExecution executes a program, and waits for its end where it has one.
func closedExecution(args ...string) func(*env) {
	return func(e *env) {
		p, inst := e.reachableBy()
		x, err := e.launch(e.ctx, inst, guestExec(args...))
		require.NoError(e, err)
		if args[0] == "exit" {
			e.execWait(x)
		}
		require.NoError(e, e.returns("Close", p.Close))
		e.closed(map[string]func(context.Context) error{
			"wait":   func(ctx context.Context) error { _, err := x.Wait(ctx); return err },
			"signal": func(ctx context.Context) error { return x.Signal(ctx, "SIGTERM") },
			"resize": func(ctx context.Context) error { return x.Resize(ctx, compute.TerminalSize{Width: 1, Height: 1}) },
		})
	}
}

// closed requires each method to be refused, whatever becomes of its context.
func (e *env) closed(methods map[string]func(context.Context) error) {
	e.Helper()
	done, cancel := context.WithCancel(e.ctx)
	cancel()
	for name, method := range methods {
		for _, ctx := range []context.Context{e.ctx, done} {
			re := e.fails(e.returns(name, func() error { return method(ctx) }), resource.ErrClosed)
			require.NotEmpty(e, re.Ref.ID, name)
		}
	}
}

func closeEndsExecWait(e *env) {
	p, inst := e.reachableBy()
	x, _ := e.background(inst, guestExec("trap"))
	waited := make(chan error, 1)
	go func() {
		_, err := x.Wait(e.ctx)
		waited <- err
	}()
	require.NoError(e, e.returns("Close", p.Close))
	e.fails(e.returns("Wait", func() error { return <-waited }), resource.ErrClosed)
}

func closedAttachment(e *env) {
	e.running("web")
	p := e.open(OpenOptions{})
	inst, err := p.Instances().Get(e.ctx, "web")
	require.NoError(e, err)
	a, err := compute.Attach(e.ctx, inst, compute.AttachOptions{})
	require.NoError(e, err)
	require.NoError(e, e.returns("Close", p.Close))
	e.closed(map[string]func(context.Context) error{
		"wait":   a.Wait,
		"resize": func(ctx context.Context) error { return a.Resize(ctx, compute.TerminalSize{Width: 1, Height: 1}) },
	})
	require.NoError(e, a.Close())
}
