package containerd

import (
	"math"
	"testing"
	"time"

	stats1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	stats2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	"github.com/containerd/typeurl/v2"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/univirt/univirt/compute"
)

func TestDecodeCounters(t *testing.T) {
	without := func(change func(*compute.Stats)) compute.Stats {
		s := unknownStats()
		change(&s)
		return s
	}
	for name, c := range map[string]struct {
		counters any
		want     compute.Stats
	}{
		"nothing in version 1": {&stats1.Metrics{}, unknownStats()},
		"nothing in version 2": {&stats2.Metrics{}, unknownStats()},
		"version 1": {&stats1.Metrics{
			CPU: &stats1.CPUStat{
				Usage:      &stats1.CPUUsage{Total: 30, User: 20, Kernel: 10},
				Throttling: &stats1.Throttle{Periods: 9, ThrottledPeriods: 2, ThrottledTime: 5},
			},
			Memory: &stats1.MemoryStat{
				TotalInactiveFile: 100, InactiveFile: 1,
				Usage: &stats1.MemoryEntry{Usage: 1100, Max: 2000, Limit: 4096},
			},
			MemoryOomControl: &stats1.MemoryOomControl{OomKill: 3},
			Pids:             &stats1.PidsStat{Current: 4, Limit: 10},
			Blkio: &stats1.BlkIOStat{
				IoServiceBytesRecursive: []*stats1.BlkIOEntry{
					{Op: "Read", Device: "a", Value: 1}, {Op: "Write", Device: "a", Value: 2}, {Op: "Total", Value: 3},
					{Op: "Read", Device: "b", Value: 10}, {Op: "Write", Device: "b", Value: 20}, {Op: "Total", Value: 30},
				},
				IoServicedRecursive: []*stats1.BlkIOEntry{{Op: "Read", Value: 5}, {Op: "Sync", Value: 6}, nil},
			},
		}, compute.Stats{
			CPU:    compute.CPUStats{Usage: 30, User: 20, System: 10, ThrottledPeriods: 2, Throttled: 5},
			Memory: compute.MemoryStats{Usage: 1000, Cache: 100, Peak: 2000, Limit: 4096, OOMKills: 3},
			PIDs:   4,
			Disk:   compute.IOStats{ReadBytes: 11, WriteBytes: 22, ReadOps: 5},
		}},
		"version 2": {&stats2.Metrics{
			CPU:          &stats2.CPUStat{UsageUsec: 30, UserUsec: 20, SystemUsec: 10, NrPeriods: 9, NrThrottled: 2, ThrottledUsec: 5},
			Memory:       &stats2.MemoryStat{Usage: 1100, InactiveFile: 100, MaxUsage: 2000, UsageLimit: 4096},
			MemoryEvents: &stats2.MemoryEvents{Oom: 9, OomKill: 3},
			Pids:         &stats2.PidsStat{Current: 4},
			Io: &stats2.IOStat{Usage: []*stats2.IOEntry{
				{Rbytes: 1, Wbytes: 2, Rios: 3, Wios: 4}, {Rbytes: 10, Wbytes: 20, Rios: 30, Wios: 40}, nil,
			}},
		}, compute.Stats{
			CPU: compute.CPUStats{Usage: 30 * time.Microsecond, User: 20 * time.Microsecond, System: 10 * time.Microsecond,
				ThrottledPeriods: 2, Throttled: 5 * time.Microsecond},
			Memory: compute.MemoryStats{Usage: 1000, Cache: 100, Peak: 2000, Limit: 4096, OOMKills: 3},
			PIDs:   4,
			Disk:   compute.IOStats{ReadBytes: 11, WriteBytes: 22, ReadOps: 33, WriteOps: 44},
		}},
		"version 1 without a bound": {
			&stats1.Metrics{Memory: &stats1.MemoryStat{Usage: &stats1.MemoryEntry{Limit: math.MaxInt64 &^ 4095}}},
			without(func(s *compute.Stats) { s.Memory = compute.MemoryStats{Limit: -1, OOMKills: -1} }),
		},
		"version 2 without a bound, on a kernel without a peak": {
			&stats2.Metrics{Memory: &stats2.MemoryStat{UsageLimit: math.MaxUint64, Usage: 1}},
			without(func(s *compute.Stats) {
				s.Memory = compute.MemoryStats{Usage: 1, Peak: -1, Limit: -1, OOMKills: -1}
			}),
		},
		"more cache than use": {
			&stats2.Metrics{Memory: &stats2.MemoryStat{Usage: 1, InactiveFile: 2, UsageLimit: 3}},
			without(func(s *compute.Stats) {
				s.Memory = compute.MemoryStats{Cache: 2, Peak: -1, Limit: 3, OOMKills: -1}
			}),
		},
		"numbers that do not fit": {
			&stats2.Metrics{CPU: &stats2.CPUStat{UsageUsec: math.MaxUint64}, Pids: &stats2.PidsStat{Current: math.MaxUint64}},
			without(func(s *compute.Stats) {
				s.CPU = compute.CPUStats{Usage: math.MaxInt64 / 1000 * 1000}
				s.PIDs = math.MaxInt64
			}),
		},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := typeurl.MarshalAnyToProto(c.counters)
			require.NoError(t, err)
			have := unknownStats()
			require.NoError(t, decodeCounters(data, &have))
			require.Equal(t, c.want, have)
		})
	}
	have := unknownStats()
	require.NoError(t, decodeCounters(nil, &have))
	require.Error(t, decodeCounters(&anypb.Any{TypeUrl: "io.containerd.cgroups.v1.Metrics", Value: []byte{0xff}}, &have))
	require.Error(t, decodeCounters(&anypb.Any{TypeUrl: "some.other.Thing"}, &have))
	require.Equal(t, unknownStats(), have)
}

func FuzzDecodeCounters(f *testing.F) {
	for _, url := range []string{"io.containerd.cgroups.v1.Metrics", "io.containerd.cgroups.v2.Metrics"} {
		f.Add(url, []byte{})
		f.Add(url, []byte{0x12, 0x02, 0x08, 0x01})
	}
	f.Fuzz(func(t *testing.T, url string, value []byte) {
		have := unknownStats()
		if decodeCounters(&anypb.Any{TypeUrl: url, Value: value}, &have) != nil {
			return
		}
		for _, n := range []int64{
			int64(have.CPU.Usage), int64(have.CPU.User), int64(have.CPU.System), int64(have.CPU.Throttled), have.CPU.ThrottledPeriods,
			have.Memory.Usage, have.Memory.Cache, have.Memory.Peak, have.Memory.Limit, have.Memory.OOMKills, have.PIDs,
			have.Disk.ReadBytes, have.Disk.WriteBytes, have.Disk.ReadOps, have.Disk.WriteOps,
		} {
			if n < -1 {
				t.Fatalf("%d in %+v", n, have)
			}
		}
	})
}
