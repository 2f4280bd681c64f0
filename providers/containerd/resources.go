package containerd

import (
	"math"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/univirt/univirt/compute"
)

// cpuPeriod is the period of the processor's quota in microseconds, the kernel's
// default.
const cpuPeriod = 100_000

// resourcesOf translates bounds. A bound of zero is left out: the kernel's
// default is none.
func resourcesOf(r compute.Resources, h host) *specs.LinuxResources {
	out := &specs.LinuxResources{}
	if r.CPUs > 0 || r.CPUWeight > 0 || r.CPUSet != "" {
		out.CPU = &specs.LinuxCPU{Cpus: r.CPUSet}
	}
	if r.CPUs > 0 {
		period := uint64(cpuPeriod)
		quota := int64(math.Round(r.CPUs * cpuPeriod))
		out.CPU.Period, out.CPU.Quota = &period, &quota
	}
	if r.CPUWeight > 0 {
		setWeight(out, r.CPUWeight, h)
	}
	if r.Memory > 0 {
		limit := r.Memory
		out.Memory = &specs.LinuxMemory{Limit: &limit}
		if h.swap {
			// OCI counts memory and swap together.
			both := r.Memory + r.Swap
			out.Memory.Swap = &both
		}
	}
	if r.MemoryReservation > 0 {
		if out.Memory == nil {
			out.Memory = &specs.LinuxMemory{}
		}
		reservation := r.MemoryReservation
		out.Memory.Reservation = &reservation
	}
	if r.PIDs > 0 {
		limit := r.PIDs
		out.Pids = &specs.LinuxPids{Limit: &limit}
	}
	return out
}

// setWeight sets the share of the processor. Version 1 of cgroups counts from 2
// to 262144 with 1024 being normal.
func setWeight(out *specs.LinuxResources, weight int, h host) {
	if h.unified {
		out.Unified = map[string]string{"cpu.weight": strconv.Itoa(weight)}
		return
	}
	shares := uint64(min(max(weight*1024/100, 2), 262144))
	out.CPU.Shares = &shares
}

// liveResources translates a change of a running instance's bounds. What is not
// said stays as it is, so that a bound that is taken away must be said.
func liveResources(old, r compute.Resources, h host) *specs.LinuxResources {
	out := resourcesOf(r, h)
	if out.CPU == nil {
		out.CPU = &specs.LinuxCPU{}
	}
	none := int64(-1)
	if r.CPUs == 0 && old.CPUs > 0 {
		period := uint64(cpuPeriod)
		out.CPU.Period, out.CPU.Quota = &period, &none
	}
	if r.CPUWeight == 0 && old.CPUWeight > 0 {
		setWeight(out, 100, h)
	}
	if out.Memory == nil {
		out.Memory = &specs.LinuxMemory{}
	}
	if r.Memory == 0 && old.Memory > 0 {
		out.Memory.Limit = &none
		if h.swap {
			out.Memory.Swap = &none
		}
	}
	if r.MemoryReservation == 0 && old.MemoryReservation > 0 {
		out.Memory.Reservation = &none
	}
	if r.PIDs == 0 && old.PIDs > 0 {
		out.Pids = &specs.LinuxPids{Limit: &none}
	}
	return out
}

func sizeOption(bytes int64) string { return "size=" + strconv.FormatInt(bytes, 10) }
