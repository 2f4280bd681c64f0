package fake_test

import (
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/resource"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestDump(t *testing.T) {
	p := fake.Test(t, fake.Options{Seed: 7, Owner: "shop"})
	web := start(t, p, "web", func(s *compute.Spec) {
		s.Image = "registry.example/shop:v2"
		s.Process.Args = []string{"-v"}
		s.Labels = resource.Labels{"tier": "web", "app": "shop"}
		s.Annotations = resource.Annotations{"note": "line\nbreak"}
		s.Lifetime = resource.Until(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC))
	})
	require.NoError(t, web.Stop(t.Context(), compute.StopOptions{}))
	db := start(t, p, "db", vm, func(s *compute.Spec) { s.Lifetime = resource.Ephemeral })
	require.NoError(t, db.Update(t.Context(), compute.Change{Resources: &compute.Resources{CPUs: 2}, Apply: compute.ApplyNextStart}))
	create(t, p, "broken")
	require.NoError(t, p.Break("broken", compute.Failed, "the disk is gone"))
	_, err := p.Backend().PlantForeign("other", compute.Spec{Name: "theirs", Image: "app"})
	require.NoError(t, err)

	got := p.Backend().Dump()
	const golden = "testdata/dump.golden"
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.Equal(t, string(want), got)
	assert.Contains(t, got, p.Dump())
	assert.NotContains(t, p.Dump(), "theirs")
}

func TestSameSeedSameIdentities(t *testing.T) {
	dump := func(seed uint64) string {
		p := fake.Test(t, fake.Options{Seed: seed})
		// The goroutines race, and it makes no difference.
		var all sync.WaitGroup
		for n := range 20 {
			all.Go(func() {
				name := fmt.Sprintf("web-%d", n)
				inst, err := p.Instances().Create(t.Context(), compute.Spec{Name: name, Image: "app"})
				assert.NoError(t, err)
				assert.NoError(t, inst.Delete(t.Context(), compute.DeleteOptions{}))
				inst, err = p.Instances().Create(t.Context(), compute.Spec{Name: name, Image: "app"})
				assert.NoError(t, err)
				assert.NoError(t, inst.Start(t.Context(), compute.StartOptions{}))
			})
		}
		all.Wait()
		return p.Dump()
	}
	first := dump(1)
	assert.Equal(t, first, dump(1))
	assert.NotEqual(t, first, dump(2))
}

func TestIdentitiesAreNeverUsedAgain(t *testing.T) {
	p := fake.Test(t, fake.Options{})
	seen := map[string]bool{}
	for range 100 {
		inst := create(t, p, "web")
		assert.True(t, resource.IsID(inst.ID()))
		assert.False(t, seen[inst.ID()])
		seen[inst.ID()] = true
		require.NoError(t, inst.Delete(t.Context(), compute.DeleteOptions{}))
	}
}
