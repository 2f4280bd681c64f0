package containerd

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// TestStats: the counters of all come by a number of calls that does not grow.
func TestStats(t *testing.T) {
	p := openGuest(t, Options{})
	ctx := t.Context()
	for i := range 3 {
		spec := guestSpec(fmt.Sprintf("web-%d", i), "sleep", "1h")
		spec.Labels = resource.Labels{"n": fmt.Sprint(i)}
		spec.Resources = compute.Resources{Memory: 64 * resource.MiB, PIDs: 50, CPUs: 0.5}
		start(t, p, spec)
	}
	create(t, p, guestSpec("idle"))
	all := func(filter compute.Filter) map[string]compute.Stats {
		before, _ := Calls(p)
		list, err := resource.Collect(p.Instances().Stats(ctx, filter))
		require.NoError(t, err)
		after, _ := Calls(p)
		for method, n := range before {
			if after[method] -= n; after[method] == 0 {
				delete(after, method)
			}
		}
		maps.DeleteFunc(after, func(method string, _ int) bool { return method == "Events/Subscribe" })
		assert.LessOrEqual(t, len(after), 3, "%v", after)
		out := map[string]compute.Stats{}
		for _, s := range list {
			out[s.Ref.Name] = s
		}
		return out
	}
	found := all(compute.Filter{})
	require.Len(t, found, 3, "what does not run has no counters")
	for name, s := range found {
		assert.NotEmpty(t, s.Run, name)
		assert.WithinDuration(t, time.Now(), s.Time, time.Minute)
		assert.Positive(t, s.CPU.Usage)
		assert.Positive(t, s.Memory.Usage)
		assert.Positive(t, s.PIDs)
		assert.Equal(t, int64(64*resource.MiB), s.Memory.Limit)
		assert.Zero(t, s.Memory.OOMKills)
		inst, err := p.Instances().Get(ctx, name)
		require.NoError(t, err)
		assert.Equal(t, info(t, inst).Run, s.Run)
	}
	assert.Len(t, all(compute.Filter{Names: []string{"web-1", "idle"}}), 1)
	assert.Len(t, all(compute.Filter{Selector: resource.Select(resource.NotEquals("n", "1"))}), 2)
	assert.Empty(t, all(compute.Filter{Names: []string{"idle"}}))
}
