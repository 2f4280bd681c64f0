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
