package providertest

import (
	"context"
	"fmt"

	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// leakCases repeat what may leave something behind. Each case fails where the
// backend holds more after it than before, and where a goroutine goes on; these
// make a small leak a large one, and look in the middle as well.
func leakCases() []testCase {
	return []testCase{
		{"Lives leave nothing behind", nil, lives},
		{"Runs leave nothing behind", nil, runsOfOne},
		{"Starts that fail leave nothing behind", nil, failedStarts},
		{"Creates that fail leave nothing behind", nil, failedCreates},
		{"Executions leave nothing behind", has(compute.FeatureExec), manyExecs},
		{"Executions that nobody waits for leave nothing behind", has(compute.FeatureExec), unawaitedExecs},
		{"Watches and lists that are left early leave nothing behind", nil, leftStreams},
		{"Provider values leave nothing behind", nil, manyValues},
		{"Idle instances hold no goroutines", nil, idleInstances},
		{"An image that is deleted leaves nothing behind", all(hasImages(compute.FeatureImport), hook("Archive")), importAndDelete},
	}
}

// repeats is how often something is repeated to make a leak show.
func repeats() int {
	if flagSet("test.short") {
		return 4
	}
	return 10
}

// constant requires the backend to hold no more after many repetitions than after
// the first.
func (e *env) constant(repeat func(i int)) {
	e.Helper()
	repeat(0)
	before, err := e.lane.inventory(e.ctx)
	require.NoError(e, err)
	for i := range repeats() {
		repeat(i + 1)
	}
	var after []string
	ctx, cancel := context.WithTimeout(e.ctx, e.s.h.Patience/3)
	defer cancel()
	same := eventually(ctx, func() bool {
		after, err = e.lane.inventory(e.ctx)
		return err != nil || len(after) <= len(before)
	})
	require.NoError(e, err)
	require.True(e, same, "what the backend holds grows:%s", difference(before, after))
}

func lives(e *env) {
	e.constant(func(i int) {
		inst := e.running(fmt.Sprintf("web-%d", i))
		e.kill(inst)
		require.NoError(e, inst.Delete(e.ctx, compute.DeleteOptions{}))
	})
}

func runsOfOne(e *env) {
	inst := e.stopped("job", "exit", "0")
	e.constant(func(int) {
		e.start(inst)
		if e.s.h.Shared {
			// It would boot each time until its program ends.
			e.kill(inst)
		}
		e.wait(inst)
		e.awaitState(inst, compute.Stopped)
	})
}

func failedStarts(e *env) {
	spec := e.spec("web")
	spec.Process.Command = []string{"/bin/no-such-program"}
	inst := e.create(spec)
	e.constant(func(int) { require.Error(e, inst.Start(e.ctx, compute.StartOptions{})) })
}

func failedCreates(e *env) {
	e.stopped("web")
	e.constant(func(int) {
		_, err := e.instances().Create(e.ctx, e.spec("web", "sleep", "1h"))
		require.Error(e, err)
		spec := e.spec("other", "sleep", "1h")
		spec.Image = "localhost:1/no/such:image"
		_, err = e.instances().Create(e.ctx, spec)
		require.Error(e, err)
	})
}

func manyExecs(e *env) {
	inst := e.reachable()
	e.constant(func(int) { e.output(inst, "echo", "here") })
}

func unawaitedExecs(e *env) {
	inst := e.running("web")
	for range repeats() {
		_, err := e.launch(e.ctx, inst, guestExec("exit", "0"))
		require.NoError(e, err)
	}
	e.delete(inst)
}

func leftStreams(e *env) {
	e.running("web")
	for range repeats() {
		for _, err := range e.p.Watch(e.ctx, resource.WatchOptions{}) {
			require.NoError(e, err)
			break
		}
		for _, err := range e.instances().List(e.ctx, compute.Filter{}) {
			require.NoError(e, err)
			break
		}
	}
}

func manyValues(e *env) {
	e.constant(func(int) {
		p := e.open(OpenOptions{})
		require.Empty(e, e.names(p.Instances(), compute.Filter{}))
		require.NoError(e, p.Close())
	})
}

func idleInstances(e *env) {
	before := countGoroutines(e.label)
	for i := range repeats() {
		e.stopped(fmt.Sprintf("web-%d", i))
	}
	e.eventually("the number of goroutines is as before", func() bool {
		return countGoroutines(e.label) <= before+1
	})
}

func importAndDelete(e *env) {
	e.constant(func(int) {
		images := e.importArchive(e.format())
		for _, image := range images {
			require.NoError(e, e.p.Images().Delete(e.ctx, image.Ref.ID, compute.DeleteImageOptions{}))
		}
	})
}
