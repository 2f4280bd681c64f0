//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/containerd/errdefs"
	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// withMounts runs what gives an instance the volumes of mounts, while nobody on this
// host changes these. Faults name the mounts by the field and their place.
func (p *Provider) withMounts(ctx context.Context, instance string, mounts []compute.Mount, at func(k int, field string) string, do func([]volumeDisk) error) error {
	if len(mounts) == 0 {
		return do(nil)
	}
	var ids []string
	for k, m := range mounts {
		d, err := records{p, resource.KindVolume}.find(ctx, m.Source)
		if isNotFound(err) {
			return noVolume(at(k, "source"), m.Source)
		}
		if err != nil {
			return err
		}
		ids = append(ids, d.ID)
	}
	return p.lockedAll(ctx, ids, func() error {
		var disks []volumeDisk
		for k, m := range mounts {
			disk, err := p.attachable(ctx, instance, ids[k], m)
			if err != nil {
				return inField(err, func(field string) string { return at(k, field) })
			}
			disks = append(disks, disk)
		}
		return do(disks)
	})
}

// inField names the field of an error anew.
func inField(err error, name func(string) string) error {
	var own *resource.Error
	if !errors.As(err, &own) || own.Field == "" {
		return err
	}
	out := *own
	out.Field = name(own.Field)
	return &out
}

// attachable finds whether an instance may have a volume, and as what.
func (p *Provider) attachable(ctx context.Context, instance, id string, m compute.Mount) (volumeDisk, error) {
	v := volumes{p}.handle(id, "")
	facts, err := v.settled(ctx)
	if isNotFound(err) {
		return volumeDisk{}, noVolume("source", m.Source)
	}
	if err != nil {
		return volumeDisk{}, atField("source", err)
	}
	fail := func(kind error, field, reason string) (volumeDisk, error) {
		return volumeDisk{}, &resource.Error{Kind: kind, Field: field, Err: errors.New(reason)}
	}
	if (m.Type == compute.MountDevice) != (facts.spec.Mode == storage.Block) {
		return fail(errdefs.ErrInvalidArgument, "type", "must not be "+string(m.Type)+": the volume's mode is "+string(facts.spec.Mode))
	}
	shared := facts.spec.Access != storage.ReadWriteOnce
	if facts.spec.Access == storage.ReadOnlyMany && !m.ReadOnly {
		return fail(errdefs.ErrFailedPrecondition, "readOnly", "must be true: nobody writes to the volume "+resource.Quote(facts.Name))
	}
	if !shared {
		users, err := p.usersOf(ctx, id)
		if err != nil {
			return volumeDisk{}, err
		}
		for _, u := range users {
			if u.ref.ID != instance {
				return fail(errdefs.ErrFailedPrecondition, "source", "the volume "+resource.Quote(facts.Name)+" is for one instance at a time, and "+u.label()+" has it")
			}
		}
	}
	path, err := onVolume(ctx, p, facts.spec.Pool, facts.file(), func(_ *lv.Connect, v *lv.StorageVol) (string, error) { return v.GetPath() })
	if err != nil {
		return volumeDisk{}, err
	}
	return volumeDisk{id: id, path: m.Path, file: path, format: facts.Disk, readOnly: m.ReadOnly, shared: shared, thin: !facts.bounded()}, nil
}

// mountField is the field of a mount of a spec.
func mountField(k int, field string) string { return fmt.Sprintf("mounts[%d].%s", k, field) }

// plannedVolumes are the volumes of mounts, but for what a plan tells as a gap.
func (p *Provider) plannedVolumes(ctx context.Context, mounts []compute.Mount) ([]volumeDisk, error) {
	var disks []volumeDisk
	for k, m := range mounts {
		if p.hyper.refuseMount(m) != nil {
			continue
		}
		d, err := records{p, resource.KindVolume}.find(ctx, m.Source)
		if isNotFound(err) {
			return nil, noVolume(mountField(k, "source"), m.Source)
		}
		if err != nil {
			return nil, err
		}
		disk, err := p.attachable(ctx, plannedID, d.ID, m)
		if err != nil {
			return nil, inField(err, func(field string) string { return mountField(k, field) })
		}
		disks = append(disks, disk)
	}
	return disks, nil
}

func noVolume(field, name string) error {
	return &resource.Error{Kind: errdefs.ErrNotFound, Field: field, Err: errors.New("there is no volume " + resource.Quote(name))}
}

// withVolumes runs a start, which nobody on this host replaces the content of the
// instance's volumes at the same time as, with the domain as it is then.
func (i *instance) withVolumes(ctx context.Context, do func(*domain) error) error {
	d, err := i.load(ctx)
	if err != nil {
		return err
	}
	if d.facts.record == nil || len(d.facts.record.Volumes) == 0 {
		return do(d)
	}
	ids := slices.Collect(maps.Values(d.facts.record.Volumes))
	return i.p.lockedAll(ctx, ids, func() error {
		for _, id := range ids {
			_, err := volumes{i.p}.handle(id, "").settled(ctx)
			// One that is gone libvirt tells of.
			if err != nil && !isNotFound(err) {
				return err
			}
		}
		d, err := i.load(ctx)
		if err != nil {
			return err
		}
		return do(d)
	})
}

// stillThere holds that no volume was deleted, on another host, before it was known
// that somebody has it.
func (p *Provider) stillThere(ctx context.Context, disks []volumeDisk) error {
	for _, d := range disks {
		if _, err := (records{p, resource.KindVolume}).find(ctx, d.id); err != nil {
			return atField("mounts", err)
		}
	}
	return nil
}
