package libvirt

import (
	"cmp"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// What a virtual machine has where the spec does not say.
const (
	defaultCPUs   = 1
	defaultMemory = 512 * resource.MiB
	// sparePorts are PCIe ports for devices that are plugged in while the machine
	// runs: q35 has no others.
	sparePorts = 14
	// mostCPUs bounds what is asked of any hypervisor.
	mostCPUs = 512
)

// hypervisor is what a translation must know of the hypervisor.
type hypervisor struct {
	// virtType is libvirt's type of domain: "kvm", "qemu" or "test".
	virtType string
	// arch and machine are the default ones.
	arch, machine string
	// consoles is the folder for what guests write; empty where there is none.
	consoles string
	// unified says that the host has cgroup v2.
	unified bool
	// unreachable says why no port of a machine can be reached; empty where one can.
	unreachable string
	// noNetworks says why there are no networks; empty where there are.
	noNetworks string
	// supervised says that this value acts on policies and probes, or is about to.
	supervised bool
}

// checkValues finds what is wrong with a spec whatever is supported.
func checkValues(spec compute.Spec) error {
	faults := spec.Validate()
	known := func(field string) bool {
		return slices.ContainsFunc(faults, func(f resource.Fault) bool { return f.Field == field })
	}
	if !known("resources.cpus") {
		faults.Under("resources", checkResources(spec.Resources))
	}
	if spec.Image == "" && (spec.Boot == nil || spec.Boot.Kernel == "") && !known("boot.kernel") {
		faults.Add("image", "is required where boot.kernel is empty")
	}
	if b := spec.Boot; b != nil {
		for _, text := range []struct{ field, value string }{
			{"boot.kernel", b.Kernel}, {"boot.initrd", b.Initrd}, {"boot.commandLine", b.CommandLine}, {"boot.machine", b.Machine},
		} {
			if !carried(text.value) {
				faults.Add(text.field, "must be UTF-8 without control characters")
			}
		}
	}
	return faults.Err()
}

// checkSpec finds every fault of a spec that shows without the backend.
func (h hypervisor) checkSpec(spec compute.Spec) error {
	if err := checkValues(spec); err != nil {
		return err
	}
	if err := h.fields().Refuse(spec); err != nil {
		return err
	}
	return checkDisks(spec).Err()
}

// carried reports whether a text can stand in an XML document as it is. Nothing
// of what XML could carry only with care is of any use here.
func carried(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(c rune) bool {
		return unicode.IsControl(c) || c == utf8.RuneError || c == 0xfffe || c == 0xffff
	})
}

// checkResources finds what only a virtual machine cannot have.
func checkResources(r compute.Resources) resource.Faults {
	var faults resource.Faults
	switch {
	case r.CPUs != math.Trunc(r.CPUs):
		faults.Add("cpus", "must be a whole number for a virtual machine")
	case r.CPUs > mostCPUs:
		faults.Add("cpus", "must be at most %d", mostCPUs)
	}
	return faults
}

// withChoices returns the spec with what the provider chooses.
func (h hypervisor) withChoices(spec compute.Spec) compute.Spec {
	spec = spec.Clone()
	spec.Kind = compute.VM
	spec.Resources.CPUs = cmp.Or(spec.Resources.CPUs, defaultCPUs)
	spec.Resources.Memory = cmp.Or(spec.Resources.Memory, defaultMemory)
	if spec.Boot == nil {
		spec.Boot = &compute.Boot{}
	}
	spec.Boot.Machine = cmp.Or(spec.Boot.Machine, h.machine)
	spec.Boot.Firmware = cmp.Or(spec.Boot.Firmware, h.firmware())
	return spec
}

// translate makes the domain of an instance. Only typed fields of libvirtxml are
// set, so that nothing of a spec is ever taken for XML.
func (h hypervisor) translate(id string, r record) (*libvirtxml.Domain, error) {
	spec := r.spec
	meta, err := metaRecord.whole(r)
	if err != nil {
		return nil, err
	}
	d := &libvirtxml.Domain{
		Type:     h.virtType,
		Name:     domainName(r.Namespace, r.Name),
		UUID:     id,
		Metadata: &libvirtxml.DomainMetadata{XML: meta},
		OS: &libvirtxml.DomainOS{
			Type:    &libvirtxml.DomainOSType{Arch: h.arch, Machine: spec.Boot.Machine, Type: "hvm"},
			Kernel:  spec.Boot.Kernel,
			Initrd:  spec.Boot.Initrd,
			Cmdline: spec.Boot.CommandLine,
		},
		Features:   &libvirtxml.DomainFeatureList{ACPI: &libvirtxml.DomainFeature{}, APIC: &libvirtxml.DomainFeatureAPIC{}},
		OnPoweroff: "destroy",
		OnReboot:   "restart",
		OnCrash:    "destroy",
		Devices:    h.devices(id, spec.Boot.Machine),
	}
	h.applyResources(d, spec.Resources)
	applyNetworks(d, r.Nets)
	applyFirmware(d, spec.Boot.Firmware)
	applyDisks(d, id, r)
	addVolumes(d, r.volumes)
	return d, nil
}

// describe returns the domain of an instance as libvirt reads it.
func (h hypervisor) describe(id string, r record) (string, error) {
	d, err := h.translate(id, r)
	if err == nil {
		err = edit(d, r.spec.Native)
	}
	if err != nil {
		return "", err
	}
	fitTopology(d)
	return d.Marshal()
}

// applyResources sets what a change may set anew.
func (h hypervisor) applyResources(d *libvirtxml.Domain, r compute.Resources) {
	kib := uint(r.Memory / resource.KiB)
	d.Memory = &libvirtxml.DomainMemory{Value: kib, Unit: "KiB"}
	d.CurrentMemory = &libvirtxml.DomainCurrentMemory{Value: kib, Unit: "KiB"}
	h.applyCPUs(d, r)
	d.CPUTune = nil
	if r.CPUWeight != 0 {
		d.CPUTune = &libvirtxml.DomainCPUTune{Shares: &libvirtxml.DomainCPUTuneShares{Value: h.shares(r.CPUWeight)}}
	}
}

// shares is a weight of cgroup v2 as libvirt has it: the same there, and of cgroup v1
// the shares of which 1024 are normal where 100 is (https://libvirt.org/formatdomain.html#cpu-tuning).
func (h hypervisor) shares(weight int) uint {
	if h.unified {
		return uint(weight)
	}
	return max(2, uint(weight)*1024/100)
}

// agentChannel is the name by which qemu-guest-agent, and what stands in for it,
// finds its channel (https://libvirt.org/formatdomain.html#channel).
const agentChannel = "org.qemu.guest_agent.0"

// devices are those of every virtual machine.
func (h hypervisor) devices(id, machine string) *libvirtxml.DomainDeviceList {
	if h.virtType == "test" {
		return &libvirtxml.DomainDeviceList{}
	}
	zero := uint(0)
	console := libvirtxml.DomainSerial{
		Source: &libvirtxml.DomainChardevSource{Pty: &libvirtxml.DomainChardevSourcePty{}},
		Target: &libvirtxml.DomainSerialTarget{Port: &zero},
	}
	if h.consoles != "" {
		console.Log = &libvirtxml.DomainChardevLog{File: h.consoleLog(id), Append: "on"}
	}
	list := &libvirtxml.DomainDeviceList{
		Serials: []libvirtxml.DomainSerial{console},
		Channels: []libvirtxml.DomainChannel{{
			Source: &libvirtxml.DomainChardevSource{UNIX: &libvirtxml.DomainChardevSourceUNIX{Mode: "bind"}},
			Target: &libvirtxml.DomainChannelTarget{VirtIO: &libvirtxml.DomainChannelTargetVirtIO{Name: agentChannel}},
		}},
		Videos:     screens(h.arch),
		MemBalloon: &libvirtxml.DomainMemBalloon{Model: "virtio"},
		RNGs: []libvirtxml.DomainRNG{{
			Model:   "virtio",
			Backend: &libvirtxml.DomainRNGBackend{Random: &libvirtxml.DomainRNGBackendRandom{Device: "/dev/urandom"}},
		}},
	}
	if machine == "q35" || strings.HasPrefix(machine, "pc-q35-") {
		root := uint(0)
		list.Controllers = append(list.Controllers, libvirtxml.DomainController{Type: "pci", Index: &root, Model: "pcie-root"})
		for n := range uint(sparePorts) {
			index := n + 1
			list.Controllers = append(list.Controllers, libvirtxml.DomainController{Type: "pci", Index: &index, Model: "pcie-root-port"})
		}
	}
	return list
}

// consoleLog is the file that has what a guest writes.
func (h hypervisor) consoleLog(id string) string { return filepath.Join(h.consoles, id+".log") }
