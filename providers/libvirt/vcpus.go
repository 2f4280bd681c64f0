package libvirt

import (
	"strings"

	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt/compute"
)

// A machine that runs can be given processors up to a number that its description has
// from its start. The spec says nothing of such a number, as it says nothing of a
// machine's memory to come; but where memory costs what it is, a processor that is not
// there costs a Linux guest 240 KiB, and no time: a kernel that was measured with room
// for one processor and with room for 240 booted alike. So each machine has room for a
// multiple of what it begins with, whatever its host has: the same spec gives the same
// machine anywhere. Room for all that any hypervisor takes would have cost a small one
// a quarter of its memory.
const (
	// roomFactor is how many times the processors that it begins with a machine has
	// room for, and leastRoom is what the smallest has room for.
	roomFactor = 4
	leastRoom  = 8
	// mostRoom is what a machine has room for without a unit that remaps
	// interrupts: one with more has no room beyond what it begins with.
	mostRoom = 240
)

// room is how many processors a machine can have while it runs.
func (h hypervisor) room(machine string, cpus uint) uint {
	if !h.takesCPUs(machine) {
		return cpus
	}
	return max(cpus, min(max(leastRoom, roomFactor*cpus), mostRoom))
}

// takesCPUs reports whether QEMU gives machines of a type processors while they run.
func (h hypervisor) takesCPUs(machine string) bool {
	machine, _, _ = strings.Cut(machine, "-")
	return h.virtType != "test" && h.isPC() && (machine == "q35" || machine == "pc")
}

// applyCPUs sets the processors. Libvirt works out by itself which of them are there
// from the start.
func (h hypervisor) applyCPUs(d *libvirtxml.Domain, r compute.Resources) {
	cpus := uint(r.CPUs)
	d.VCPU = &libvirtxml.DomainVCPU{Value: cpus, Placement: "static", CPUSet: r.CPUSet}
	d.VCPUs = nil
	machine := ""
	if d.OS != nil && d.OS.Type != nil {
		machine = d.OS.Type.Machine
	}
	if room := h.room(machine, cpus); room > cpus {
		d.VCPU.Current, d.VCPU.Value = cpus, room
	}
	fitTopology(d)
}

// fitTopology takes the room for further processors away where somebody has arranged
// those that the machine begins with in sockets, cores and threads, which are to be all
// that it has room for.
func fitTopology(d *libvirtxml.Domain) {
	if d.CPU == nil || d.CPU.Topology == nil || d.VCPU == nil {
		return
	}
	t := d.CPU.Topology
	arranged := uint(max(t.Sockets, 1) * max(t.Dies, 1) * max(t.Clusters, 1) * max(t.Cores, 1) * max(t.Threads, 1))
	if arranged == d.VCPU.Current && arranged < d.VCPU.Value {
		d.VCPU.Value, d.VCPU.Current = arranged, 0
	}
}

// settleCPUs has a machine whose memory is kept begin with the processors that came
// while it ran: QEMU reads the memory before libvirt would give it any, and knows of no
// others then. What QEMU makes of the number at a start stays as it was made of the
// former one. It reports whether any came.
func settleCPUs(d *libvirtxml.Domain) (came bool) {
	if d.VCPUs == nil {
		return false
	}
	var first uint
	for n := range d.VCPUs.VCPU {
		c := &d.VCPUs.VCPU[n]
		switch {
		case c.Enabled != "yes":
		case c.Hotpluggable == "yes":
			c.Hotpluggable, came = "no", true
		default:
			first++
		}
	}
	if came && d.Devices != nil {
		settleQueues(d.Devices, first)
	}
	return came
}

// settleQueues says of disks how many queues they have where nobody has: as many as
// there were processors at the start.
func settleQueues(devices *libvirtxml.DomainDeviceList, cpus uint) {
	for n := range devices.Disks {
		disk := &devices.Disks[n]
		if disk.Target == nil || disk.Target.Bus != "virtio" {
			continue
		}
		if disk.Driver == nil {
			disk.Driver = &libvirtxml.DomainDiskDriver{}
		}
		if disk.Driver.Queues == nil {
			disk.Driver.Queues = &cpus
		}
	}
	for n := range devices.Controllers {
		c := &devices.Controllers[n]
		if c.Type != "scsi" || !strings.HasPrefix(c.Model, "virtio") {
			continue
		}
		if c.Driver == nil {
			c.Driver = &libvirtxml.DomainControllerDriver{}
		}
		if c.Driver.Queues == nil {
			c.Driver.Queues = &cpus
		}
	}
}
