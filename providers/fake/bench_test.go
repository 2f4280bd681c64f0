package fake_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/resource"
)

// lifecycle is create, start, stop and delete of one instance.
func lifecycle(tb testing.TB, p *fake.Provider) {
	ctx := context.Background()
	inst, err := p.Instances().Create(ctx, compute.Spec{Name: "web", Image: "app", Labels: resource.Labels{"tier": "web"}})
	require.NoError(tb, err)
	require.NoError(tb, inst.Start(ctx, compute.StartOptions{}))
	require.NoError(tb, inst.Stop(ctx, compute.StopOptions{}))
	require.NoError(tb, inst.Delete(ctx, compute.DeleteOptions{}))
}

func BenchmarkLifecycle(b *testing.B) {
	p := fake.Test(b, fake.Options{})
	b.ReportAllocs()
	for b.Loop() {
		lifecycle(b, p)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lifecycles/s")
}

func BenchmarkGet(b *testing.B) {
	p := fake.Test(b, fake.Options{})
	populate(b, p, 1000)
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Instances().Get(ctx, "app-7"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkInfo(b *testing.B) {
	p := fake.Test(b, fake.Options{})
	populate(b, p, 1000)
	ctx := context.Background()
	inst, err := p.Instances().Get(ctx, "app-7")
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := inst.Info(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkListByLabel(b *testing.B) {
	for _, others := range []int{1000, 100_000} {
		b.Run(fmt.Sprintf("%d others", others), func(b *testing.B) {
			p := fake.Test(b, fake.Options{})
			populate(b, p, others)
			wanted(b, p, 10)
			b.ReportAllocs()
			for b.Loop() {
				require.Len(b, listWanted(b, p), 10)
			}
		})
	}
}

// populate makes instances named app-0 and so on, without starting them.
func populate(tb testing.TB, p *fake.Provider, count int) {
	for n := range count {
		_, err := p.Instances().Create(context.Background(), compute.Spec{
			Name: fmt.Sprintf("app-%d", n), Image: "app", Labels: resource.Labels{"tier": "web"},
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
}

func wanted(tb testing.TB, p *fake.Provider, count int) {
	for n := range count {
		_, err := p.Instances().Create(context.Background(), compute.Spec{
			Name: fmt.Sprintf("wanted-%d", n), Image: "app", Labels: resource.Labels{"tier": "db"},
		})
		require.NoError(tb, err)
	}
}

func listWanted(tb testing.TB, p *fake.Provider) []compute.Info {
	infos, err := resource.Collect(p.Instances().List(context.Background(), compute.Filter{
		Selector: resource.Select(resource.Equals("tier", "db")),
	}))
	require.NoError(tb, err)
	return infos
}

// heap is the memory in use after a collection.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkHeapOf100000(b *testing.B) {
	for b.Loop() {
		before := heap()
		p := fake.New(fake.Options{})
		populate(b, p, 100_000)
		b.ReportMetric(float64(heap()-before)/1e6, "MB")
		require.NoError(b, p.Close())
	}
}
