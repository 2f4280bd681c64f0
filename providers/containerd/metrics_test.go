package containerd

import (
	"testing"

	stats1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	stats2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/typeurl/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/anypb"
)

// TestKillsOfACgroupThatGoes holds that a counter that is missing says nothing.
func TestKillsOfACgroupThatGoes(t *testing.T) {
	for name, c := range map[string]struct {
		counters any
		kills    int64
		known    bool
	}{
		"nothing":                  {},
		"something else":           {counters: &types.Metric{}},
		"version 1":                {&stats1.Metrics{MemoryOomControl: &stats1.MemoryOomControl{OomKill: 2}}, 2, true},
		"version 1 with none":      {&stats1.Metrics{MemoryOomControl: &stats1.MemoryOomControl{}}, 0, true},
		"version 1 without a file": {counters: &stats1.Metrics{}},
		"version 2":                {&stats2.Metrics{MemoryEvents: &stats2.MemoryEvents{OomKill: 2}}, 2, true},
		"version 2 with none":      {&stats2.Metrics{MemoryEvents: &stats2.MemoryEvents{}}, 0, true},
		"version 2 without a file": {counters: &stats2.Metrics{}},
	} {
		t.Run(name, func(t *testing.T) {
			var metric types.Metric
			if c.counters != nil {
				encoded, err := typeurl.MarshalAny(c.counters)
				require.NoError(t, err)
				metric.Data = &anypb.Any{TypeUrl: encoded.GetTypeUrl(), Value: encoded.GetValue()}
			}
			kills, known := kills(&metric)
			assert.Equal(t, c.kills, kills)
			assert.Equal(t, c.known, known)
		})
	}
}
