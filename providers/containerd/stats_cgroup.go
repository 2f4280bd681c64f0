package containerd

import (
	"fmt"
	"math"
	"time"

	stats1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	stats2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/univirt/univirt/compute"
)

// noLimit is the least value that the kernel shows for no bound: the largest
// number of bytes in whole pages, of the largest size that pages have.
const noLimit = math.MaxInt64 &^ (1<<16 - 1)

// unknownStats has no value that is known.
func unknownStats() compute.Stats {
	return compute.Stats{
		CPU:    compute.CPUStats{Usage: -1, User: -1, System: -1, ThrottledPeriods: -1, Throttled: -1},
		Memory: compute.MemoryStats{Usage: -1, Cache: -1, Peak: -1, Limit: -1, OOMKills: -1},
		PIDs:   -1,
		Disk:   compute.IOStats{ReadBytes: -1, WriteBytes: -1, ReadOps: -1, WriteOps: -1},
	}
}

// decodeCounters reads the counters of a task, as the shim tells them for either
// version of the kernel's control groups. What it does not find stays as it is.
func decodeCounters(data *anypb.Any, into *compute.Stats) error {
	if data == nil {
		return nil
	}
	decoded, err := typeurl.UnmarshalAny(data)
	if err != nil {
		return fmt.Errorf("counters of type %q: %w", data.TypeUrl, err)
	}
	switch counters := decoded.(type) {
	case *stats1.Metrics:
		decodeCgroup1(counters, into)
	case *stats2.Metrics:
		decodeCgroup2(counters, into)
	}
	return nil
}

func decodeCgroup1(m *stats1.Metrics, into *compute.Stats) {
	if cpu := m.GetCPU(); cpu != nil {
		if usage := cpu.GetUsage(); usage != nil {
			into.CPU.Usage = nanoseconds(usage.Total)
			into.CPU.User, into.CPU.System = nanoseconds(usage.User), nanoseconds(usage.Kernel)
		}
		if t := cpu.GetThrottling(); t != nil {
			into.CPU.ThrottledPeriods = number(t.ThrottledPeriods)
			into.CPU.Throttled = nanoseconds(t.ThrottledTime)
		}
	}
	if memory := m.GetMemory(); memory != nil {
		into.Memory.Cache = number(memory.TotalInactiveFile)
		if usage := memory.GetUsage(); usage != nil {
			into.Memory.Usage = without(usage.Usage, memory.TotalInactiveFile)
			into.Memory.Peak = number(usage.Max)
			into.Memory.Limit = limit(usage.Limit)
		}
	}
	if control := m.GetMemoryOomControl(); control != nil {
		into.Memory.OOMKills = number(control.OomKill)
	}
	if pids := m.GetPids(); pids != nil {
		into.PIDs = number(pids.Current)
	}
	if io := m.GetBlkio(); io != nil {
		into.Disk.ReadBytes, into.Disk.WriteBytes = sumBlkio(io.IoServiceBytesRecursive)
		into.Disk.ReadOps, into.Disk.WriteOps = sumBlkio(io.IoServicedRecursive)
	}
}

// sumBlkio adds up what all devices did. No entry means that nothing was done.
func sumBlkio(entries []*stats1.BlkIOEntry) (read, write int64) {
	var r, w uint64
	for _, e := range entries {
		switch e.GetOp() {
		case "Read":
			r += e.GetValue()
		case "Write":
			w += e.GetValue()
		}
	}
	return number(r), number(w)
}

func decodeCgroup2(m *stats2.Metrics, into *compute.Stats) {
	if cpu := m.GetCPU(); cpu != nil {
		into.CPU.Usage = microseconds(cpu.UsageUsec)
		into.CPU.User, into.CPU.System = microseconds(cpu.UserUsec), microseconds(cpu.SystemUsec)
		into.CPU.ThrottledPeriods = number(cpu.NrThrottled)
		into.CPU.Throttled = microseconds(cpu.ThrottledUsec)
	}
	if memory := m.GetMemory(); memory != nil {
		into.Memory.Cache = number(memory.InactiveFile)
		into.Memory.Usage = without(memory.Usage, memory.InactiveFile)
		into.Memory.Limit = limit(memory.UsageLimit)
		// Kernels before 5.19 keep no peak, and no run has used nothing.
		if memory.MaxUsage > 0 {
			into.Memory.Peak = number(memory.MaxUsage)
		}
	}
	if events := m.GetMemoryEvents(); events != nil {
		into.Memory.OOMKills = number(events.OomKill)
	}
	if pids := m.GetPids(); pids != nil {
		into.PIDs = number(pids.Current)
	}
	if io := m.GetIo(); io != nil {
		var rb, wb, ro, wo uint64
		for _, e := range io.Usage {
			rb, wb = rb+e.GetRbytes(), wb+e.GetWbytes()
			ro, wo = ro+e.GetRios(), wo+e.GetWios()
		}
		into.Disk = compute.IOStats{ReadBytes: number(rb), WriteBytes: number(wb), ReadOps: number(ro), WriteOps: number(wo)}
	}
}

// number narrows a counter; one past the largest number stays at it.
func number(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

func nanoseconds(n uint64) time.Duration { return time.Duration(number(n)) }

func microseconds(n uint64) time.Duration {
	return time.Duration(min(n, uint64(math.MaxInt64/time.Microsecond))) * time.Microsecond
}

// without takes the part from the whole; the two are read at different times.
func without(whole, part uint64) int64 { return number(whole - min(whole, part)) }

func limit(n uint64) int64 {
	if n >= noLimit {
		return -1
	}
	return number(n)
}
