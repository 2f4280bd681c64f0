//go:build !race

package fake_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/fake"
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

func TestAllocations(t *testing.T) {
	ctx := context.Background()
	p := fake.Test(t, fake.Options{})
	populate(t, p, 10)
	inst, err := p.Instances().Get(ctx, "app-7")
	require.NoError(t, err)
	for name, c := range map[string]struct {
		most float64
		do   func()
	}{
		"lifecycle": {60, func() { lifecycle(t, p) }},
		"Get":       {1, func() { _, _ = p.Instances().Get(ctx, "app-7") }},
		"Info":      {0, func() { _, _ = inst.Info(ctx) }},
	} {
		assert.LessOrEqual(t, testing.AllocsPerRun(1000, c.do), c.most, name)
	}
}

func TestListByLabelDoesNotLookAtTheOthers(t *testing.T) {
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

func TestIdleInstancesAreSmall(t *testing.T) {
	const count, most = 100_000, 200_000_000
	before, goroutines := heap(), runtime.NumGoroutine()
	p := fake.New(fake.Options{})
	defer p.Close()
	populate(t, p, count)
	created := heap() - before
	t.Logf("%d MB where they are stopped", created/1e6)
	assert.Less(t, created, uint64(most))
	for i, err := range p.Instances().List(t.Context(), compute.Filter{}) {
		require.NoError(t, err)
		require.NoError(t, p.Instances().Handle(i.Ref.ID).Start(t.Context(), compute.StartOptions{}))
	}
	running := heap() - before
	t.Logf("%d MB where they run", running/1e6)
	assert.Less(t, running, uint64(most*3/2))
	assert.LessOrEqual(t, runtime.NumGoroutine(), goroutines+2)
}
