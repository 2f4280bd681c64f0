package providertest

import (
	"context"

	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

func statsCases() []testCase {
	stats := has(compute.FeatureStats)
	return []testCase{
		{"Stats yields the running instances that match, and no others", stats, statsOfRunning},
		{"Counters grow within a run", all(stats, has(compute.FeatureExec)), statsGrow},
		{"Counters belong to a run", stats, statsOfRun},
		{"Stats tell the memory and its limit", all(stats, has(compute.FeatureExec), fields("resources.memory")), statsMemory},
		{"A loop over stats may be left early, and each range starts anew", stats, statsBreak},
		{"An instance that ends meanwhile does not end the stream", stats, statsWhileEnding},
	}
}

// stats reads the counters of the instances that match, by name.
func (e *env) stats(filter compute.Filter) map[string]compute.Stats {
	e.Helper()
	all, err := resource.Collect(e.instances().Stats(e.ctx, filter))
	require.NoError(e, err)
	byName := map[string]compute.Stats{}
	for _, s := range all {
		e.wellFormedRef(s.Ref, resource.KindInstance)
		require.False(e, s.Time.IsZero(), "the time of a sample")
		require.NotEmpty(e, s.Run, "the run of a sample")
		byName[s.Ref.Name] = s
	}
	require.Len(e, byName, len(all), "one sample an instance")
	return byName
}

func statsOfRunning(e *env) {
	e.stopped("stopped")
	e.ended("ended", "exit", "0")
	spec := e.spec("a", "sleep", "1h")
	spec.Labels = resource.Labels{"tier": "web"}
	a := e.create(spec)
	e.start(a)
	e.running("b")
	all := e.stats(compute.Filter{})
	require.Len(e, all, 2)
	require.Equal(e, a.ID(), all["a"].Ref.ID)
	require.Equal(e, e.info(a).Run, all["a"].Run)
	require.Contains(e, e.stats(compute.Filter{Selector: resource.Select(resource.Equals("tier", "web"))}), "a")
	require.Len(e, e.stats(compute.Filter{Names: []string{"b"}}), 1)
	require.Empty(e, e.stats(compute.Filter{Names: []string{"stopped"}}))
}

func statsGrow(e *env) {
	inst := e.running("web")
	earlier := e.stats(compute.Filter{})["web"]
	e.output(inst, "spin", "100ms")
	later := e.stats(compute.Filter{})["web"]
	require.True(e, later.Time.After(earlier.Time))
	for name, v := range map[string][2]int64{
		"CPU":         {int64(earlier.CPU.Usage), int64(later.CPU.Usage)},
		"user":        {int64(earlier.CPU.User), int64(later.CPU.User)},
		"disk reads":  {earlier.Disk.ReadBytes, later.Disk.ReadBytes},
		"disk writes": {earlier.Disk.WriteBytes, later.Disk.WriteBytes},
	} {
		require.GreaterOrEqual(e, v[1], v[0], name)
		require.GreaterOrEqual(e, v[0], int64(-1), name)
	}
	if earlier.CPU.Usage >= 0 {
		require.Greater(e, later.CPU.Usage, earlier.CPU.Usage, "processor time that was used")
	}
	rate, ok := compute.RateOf(earlier, later)
	require.True(e, ok)
	require.GreaterOrEqual(e, rate.CPUs, 0.0)
}

func statsOfRun(e *env) {
	inst := e.running("web")
	earlier := e.stats(compute.Filter{})["web"]
	e.kill(inst)
	require.Empty(e, e.stats(compute.Filter{}))
	e.start(inst)
	later := e.stats(compute.Filter{})["web"]
	require.NotEqual(e, earlier.Run, later.Run)
	_, ok := compute.RateOf(earlier, later)
	require.False(e, ok, "a rate over two runs")
}

func statsMemory(e *env) {
	if e.s.kind() == compute.VM {
		panic(leftOut{"a guest that boots needs more memory than what is measured"})
	}
	spec := e.spec("web", "sleep", "1h")
	spec.Resources.Memory = largeMemory
	inst := e.create(spec)
	e.start(inst)
	before := e.stats(compute.Filter{})["web"].Memory
	require.Equal(e, largeMemory, before.Limit)
	x, _ := e.background(inst, guestExec("alloc", "33554432"))
	after := e.stats(compute.Filter{})["web"].Memory
	if before.Usage >= 0 {
		require.GreaterOrEqual(e, after.Usage, before.Usage+(32<<20)*9/10, "memory in use")
		require.LessOrEqual(e, after.Usage, after.Limit)
	}
	if after.Peak >= 0 {
		require.GreaterOrEqual(e, after.Peak, after.Usage)
	}
	e.kill(inst)
	e.execWait(x)
}

func statsBreak(e *env) {
	e.running("a")
	e.running("b")
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	stream := e.instances().Stats(ctx, compute.Filter{})
	for range 2 {
		for _, err := range stream {
			require.NoError(e, err)
			break
		}
	}
	require.Len(e, e.stats(compute.Filter{}), 2)
}

func statsWhileEnding(e *env) {
	keep, gone := e.running("keep"), e.running("gone")
	errs := e.together(4, func(i int) error {
		if i == 0 {
			return gone.Delete(e.ctx, compute.DeleteOptions{Force: true})
		}
		for range 5 {
			if _, err := resource.Collect(e.instances().Stats(e.ctx, compute.Filter{})); err != nil {
				return err
			}
		}
		return nil
	})
	for _, err := range errs {
		require.NoError(e, err)
	}
	require.Contains(e, e.stats(compute.Filter{}), "keep")
	e.kill(keep)
}
