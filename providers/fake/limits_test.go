//go:build !race

package fake_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/resource"
)

// The race detector makes everything slower and larger, so what is measured here
// is measured without it.

// TestSpeed fails at a fifth of what a quiet machine does. The best of several
// tries counts: the others say how busy the machine is.
func TestSpeed(t *testing.T) {
	ctx := context.Background()
	p := fake.Test(t, fake.Options{})
	populate(t, p, 1000)
	inst, err := p.Instances().Get(ctx, "app-7")
	require.NoError(t, err)
	for _, c := range []struct {
		name  string
		least float64
		count int
		do    func()
	}{
		{"lifecycles", 50_000.0 / 5, 2000, func() { lifecycle(t, p) }},
		{"Get", 1_000_000.0 / 5, 50_000, func() { _, _ = p.Instances().Get(ctx, "app-7") }},
		{"Info", 1_000_000.0 / 5, 50_000, func() { _, _ = inst.Info(ctx) }},
	} {
		best := 0.0
		for range 10 {
			begin := time.Now()
			for range c.count {
				c.do()
			}
			best = max(best, float64(c.count)/time.Since(begin).Seconds())
		}
		t.Logf("%.0f %s a second", best, c.name)
		assert.Greater(t, best, c.least, c.name)
	}
}

func TestSpeedAllocations(t *testing.T) {
	ctx := context.Background()
	p := fake.Test(t, fake.Options{})
	populate(t, p, 10)
	inst, err := p.Instances().Get(ctx, "app-7")
	require.NoError(t, err)
	for name, c := range map[string]struct {
		most float64
		do   func()
	}{
		"lifecycle": {55, func() { lifecycle(t, p) }},
		"Get":       {1, func() { _, _ = p.Instances().Get(ctx, "app-7") }},
		"Info":      {0, func() { _, _ = inst.Info(ctx) }},
	} {
		assert.LessOrEqual(t, testing.AllocsPerRun(1000, c.do), c.most, name)
	}
}

func TestSpeedOfListByLabelDoesNotDependOnTheOthers(t *testing.T) {
	measure := func(others int) (allocations float64, took time.Duration) {
		p := fake.New(fake.Options{})
		defer p.Close()
		populate(t, p, others)
		wanted(t, p, 10)
		require.Len(t, listWanted(t, p), 10)
		took = time.Hour
		for range 20 {
			begin := time.Now()
			listWanted(t, p)
			took = min(took, time.Since(begin))
		}
		return testing.AllocsPerRun(100, func() { listWanted(t, p) }), took
	}
	few, short := measure(10)
	many, long := measure(50_000)
	assert.LessOrEqual(t, many, few+2)
	assert.Less(t, long, 20*short, "five thousand times as many others")
}

// TestSpeedMemory holds what 100,000 instances keep on the heap in each state. A
// heap is measured exactly, so the bound is the one that is promised.
func TestSpeedMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("short: filling the memory takes a while")
	}
	const count, most = 100_000, 200_000_000
	ctx := context.Background()
	for name, label := range map[string]func(n int) resource.Labels{
		"labels in common": func(int) resource.Labels { return resource.Labels{"tier": "web"} },
		"own labels": func(n int) resource.Labels {
			return resource.Labels{"tier": "web", "shard": fmt.Sprintf("s%d", n)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			before, goroutines := heap(), runtime.NumGoroutine()
			p := fake.New(fake.Options{})
			defer p.Close()
			small := func(state string) {
				used := heap() - before
				t.Logf("%.1f MB where they %s", float64(used)/1e6, state)
				assert.Less(t, used, uint64(most), state)
				assert.LessOrEqual(t, runtime.NumGoroutine(), goroutines+2, state)
			}
			each := func(do func(inst compute.Instance) error) {
				for i, err := range p.Instances().List(ctx, compute.Filter{}) {
					require.NoError(t, err)
					require.NoError(t, do(p.Instances().Handle(i.Ref.ID)))
				}
			}
			for n := range count {
				_, err := p.Instances().Create(ctx, compute.Spec{Name: fmt.Sprintf("app-%d", n), Image: "app", Labels: label(n)})
				require.NoError(t, err)
			}
			small("are stopped")
			each(func(inst compute.Instance) error { return inst.Start(ctx, compute.StartOptions{}) })
			small("run")
			for _, err := range p.Instances().Stats(ctx, compute.Filter{}) {
				require.NoError(t, err)
			}
			small("run and their counters were read")
			each(func(inst compute.Instance) error { return inst.Stop(ctx, compute.StopOptions{}) })
			small("have run")
			each(func(inst compute.Instance) error {
				_, err := inst.Info(ctx)
				return err
			})
			small("have run and were read")
		})
	}
}
