package fake

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// Describe says what the fake is, how it is, and what it can do. Programs that
// were abandoned are its problems.
func (p *Provider) Describe(ctx context.Context) (univirt.Description, error) {
	ref := resource.Ref{Provider: Scheme, Namespace: p.space.name}
	fail := func(err error) (univirt.Description, error) {
		return univirt.Description{}, resource.Fail(OpDescribe.verb(), ref, err)
	}
	if err := p.open(ctx); err != nil {
		return fail(err)
	}
	c, err := p.reach(ctx, OpDescribe, target{ref: ref})
	if err != nil {
		return fail(err)
	}
	d := univirt.Description{
		Provider:  Scheme,
		Namespace: p.space.name,
		Owner:     *p.owner,
		Backend: univirt.Backend{
			Name: "memory", Version: version(), Tested: "this release", InWindow: true,
			Details: map[string]string{"seed": fmt.Sprint(p.backend.opts.Seed)},
		},
		DefaultKind: compute.Container,
		Kinds:       map[compute.Kind]univirt.KindDescription{},
		Images:      p.backend.offers.Images,
		Volumes:     univirt.ResourceDescription{Features: p.backend.offers.Volumes, Fields: volumeFields},
		Networks:    univirt.ResourceDescription{Features: p.backend.offers.Networks, Fields: networkFields},
		Changes:     map[resource.Kind]univirt.ChangeNotice{},
	}
	for _, kind := range []compute.Kind{compute.Container, compute.VM} {
		d.Kinds[kind] = univirt.KindDescription{
			Features: p.backend.offers.Instances[kind], Fields: p.backend.fieldsOf(kind), Changeable: p.backend.changesOf(kind), DefaultNetwork: "none",
		}
	}
	for _, kind := range []resource.Kind{resource.KindInstance, resource.KindImage, resource.KindVolume, resource.KindNetwork} {
		d.Changes[kind] = univirt.ByEvent
	}
	p.backend.mu.Lock()
	d.Capacity = p.backend.capacity()
	for _, program := range p.backend.abandoned {
		d.Problems = append(d.Problems, program+" did not return when its context was done.")
	}
	for _, o := range p.space.objects() {
		if o.making && !p.backend.alive(o.owner.Generation) {
			d.Leftovers = append(d.Leftovers, o.ref())
		}
	}
	p.backend.mu.Unlock()
	if err := c.done(nil); err != nil {
		return fail(err)
	}
	return d, nil
}

// version is that of this module in the program's build.
func version() string {
	const path = "github.com/univirt/univirt"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if info.Main.Path == path {
		return info.Main.Version
	}
	for _, dep := range info.Deps {
		if dep.Path == path {
			return dep.Version
		}
	}
	return "unknown"
}

// capacity is what the host has, and has left. The backend is locked.
func (b *Backend) capacity() univirt.Capacity {
	c := b.opts.Capacity
	out := univirt.Capacity{CPUs: -1, Memory: -1, MemoryAvailable: -1, Disk: -1, DiskAvailable: -1, Instances: -1}
	if c.CPUs > 0 {
		out.CPUs = c.CPUs
	}
	if c.Memory > 0 {
		out.Memory, out.MemoryAvailable = c.Memory, c.Memory-b.used.memory
	}
	if c.Disk > 0 {
		out.Disk, out.DiskAvailable = c.Disk, b.used.disk.room()
	}
	if c.Instances > 0 {
		out.Instances = int64(c.Instances)
	}
	return out
}
