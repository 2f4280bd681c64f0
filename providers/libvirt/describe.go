//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/containerd/errdefs"
	lv "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// The releases of libvirt that the provider is tested with.
const (
	tested         = "9.0.0"
	oldest, newest = 9_000_000, 9_000_000
)

// versionText writes a version as libvirt's numbers are read.
func versionText(v uint32) string { return fmt.Sprintf("%d.%d.%d", v/1_000_000, v/1000%1000, v%1000) }

// choose decides what new domains are like, by what the hypervisor can do, what was
// asked for and what this host's KVM is worth.
func (p *Provider) choose(caps libvirtxml.Caps) (hypervisor, error) {
	var h hypervisor
	types := map[string]bool{}
	for _, guest := range caps.Guests {
		if guest.OSType != "hvm" || caps.Host.CPU != nil && guest.Arch.Name != caps.Host.CPU.Arch {
			continue
		}
		h.arch = guest.Arch.Name
		for _, kind := range guest.Arch.Domains {
			types[kind.Type] = true
		}
		for _, m := range guest.Arch.Machines {
			if m.Name == "q35" {
				h.machine = m.Name
			}
		}
	}
	want := p.opts.Acceleration
	switch {
	case types["test"]:
		h.virtType, p.why = "test", "libvirt's hypervisor for tests runs nothing"
	case want == AccelerationKVM && !types["kvm"]:
		return h, &resource.Error{Kind: errdefs.ErrFailedPrecondition, Field: "acceleration", Err: errors.New("the hypervisor offers no KVM")}
	case want == AccelerationKVM:
		h.virtType, p.why = "kvm", "it was asked for"
	case want == AccelerationNone && types["qemu"]:
		h.virtType, p.why = "qemu", "it was asked for"
	case types["kvm"] && (!p.accel.probed || p.accel.usable):
		h.virtType, p.why = "kvm", cmp.Or(p.accel.reason, "the hypervisor offers it")
	case types["qemu"]:
		h.virtType, p.why = "qemu", cmp.Or(p.accel.reason, "the hypervisor offers no KVM")+": machines are emulated, and slower"
	}
	if h.virtType == "" {
		return h, resource.Errorf(errdefs.ErrFailedPrecondition, "the hypervisor runs no virtual machines of its host's kind")
	}
	return h, nil
}

// Describe implements univirt.Provider. A hypervisor that does not answer is a
// problem that the description tells, and no error.
func (p *Provider) Describe(ctx context.Context) (univirt.Description, error) {
	ref := resource.Ref{Provider: Scheme, Namespace: p.opts.Namespace}
	ctx, done, err := p.begin(ctx)
	if err != nil {
		return univirt.Description{}, resource.Fail("describe", ref, err)
	}
	defer done()
	out := univirt.Description{
		Provider:  Scheme,
		Namespace: p.opts.Namespace,
		Owner:     p.owner,
		Backend: univirt.Backend{
			Name: "libvirt", Version: p.version, Tested: tested, Address: p.opts.URI,
			Details: map[string]string{"driver": p.driver, "type": p.hyper.virtType, "architecture": p.hyper.arch, "machine": p.hyper.machine, "acceleration": p.why, "managed": strconv.FormatBool(p.daemon != nil)},
		},
		Capacity:    univirt.Capacity{CPUs: -1, Memory: -1, MemoryAvailable: -1, Disk: -1, DiskAvailable: -1, Instances: -1},
		DefaultKind: compute.VM,
		Kinds:       map[compute.Kind]univirt.KindDescription{compute.VM: p.machines()},
		Images:      ImageFeatures(),
		Networks:    univirt.ResourceDescription{Features: NetworkFeatures(), Fields: NetworkFields()},
		Changes:     map[resource.Kind]univirt.ChangeNotice{resource.KindInstance: univirt.ByEvent, resource.KindVolume: univirt.ByRefresh, resource.KindNetwork: univirt.ByRefresh},
		Volumes:     p.hyper.volumes(),
	}
	if p.elsewhere() {
		out.Backend.Details["locks"] = onlyHere
		out.Volumes.Features[storage.FeatureResize] = resource.Support{Supported: true, Reason: notResized}
	}
	if p.inProcess() {
		out.Images = allAbsent(compute.ImageFeatures(), onlyReal)
	}
	if reason := p.hyper.noNetworks; reason != "" {
		out.Networks = univirt.ResourceDescription{Features: allAbsent(network.Features(), reason)}
	}
	if p.hyper.unreachable != "" {
		out.Networks.Features[network.FeaturePublish] = resource.Support{Reason: p.hyper.unreachable}
	}
	out.Backend.InWindow = p.version == tested
	node, err := call(ctx, p, (*lv.Connect).GetNodeInfo)
	switch {
	case err == nil:
		out.Capacity.CPUs, out.Capacity.Memory = float64(node.Cpus), int64(node.Memory)*resource.KiB
	case ctx.Err() != nil:
		return univirt.Description{}, resource.Fail("describe", ref, ended(ctx))
	default:
		out.Problems = append(out.Problems, "libvirt does not answer: "+err.Error())
		return out, nil
	}
	if out.Leftovers, err = p.leftovers(ctx); err != nil {
		out.Problems = append(out.Problems, "what was left behind cannot be told: "+err.Error())
	}
	if free, err := call(ctx, p, (*lv.Connect).GetFreeMemory); err == nil {
		out.Capacity.MemoryAvailable = int64(free)
	}
	return out, nil
}

// allAbsent says of features that there are none of them.
func allAbsent(features []resource.Feature, reason string) resource.Features {
	out := resource.Features{}
	for _, feature := range features {
		out[feature] = resource.Support{Reason: reason}
	}
	return out
}
