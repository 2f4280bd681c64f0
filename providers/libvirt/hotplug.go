//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"maps"
	"path"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	lv "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

var _ compute.VolumeAttacher = (*instance)(nil)

// AttachVolume implements compute.VolumeAttacher: with the domain's description for
// later runs first, so that the volume is known to be in use.
func (i *instance) AttachVolume(ctx context.Context, mount compute.Mount) error {
	return i.rewire(ctx, "attach volume", func(ctx context.Context) (*record, error) {
		d, err := i.loadOwned(ctx, "")
		if err != nil {
			return nil, err
		}
		if err := i.p.hyper.refuseMount(mount); err != nil {
			return nil, err
		}
		if err := pluggable(d.state); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(d.facts.record.spec.Mounts, func(m compute.Mount) bool { return path.Clean(m.Path) == path.Clean(mount.Path) }) {
			return nil, &resource.Error{Kind: errdefs.ErrAlreadyExists, Field: "path", Err: errors.New("another mount has it")}
		}
		var after *record
		err = i.p.withMounts(ctx, i.id, []compute.Mount{mount}, func(_ int, field string) string { return field }, func(disks []volumeDisk) error {
			after, err = i.attach(ctx, d, mount, disks[0])
			return err
		})
		return after, err
	}, func(context.Context) error {
		return checkMount(mount)
	})
}

// rewire runs an operation that gives the instance another record, with which the
// picture of it is brought up to date.
func (i *instance) rewire(ctx context.Context, op string, do func(context.Context) (*record, error), before ...func(context.Context) error) error {
	return i.changeWithin(ctx, compute.CleanupTimeout, op, func(ctx context.Context) error {
		var written *record
		err := i.p.locked(ctx, i.id, func() (err error) {
			written, err = do(ctx)
			return err
		})
		if written != nil {
			i.p.feed.wrote(ctx, i.id, written)
		}
		return err
	}, before...)
}

// pluggable refuses to change the devices of what is not sure to keep them.
func pluggable(s compute.State) error {
	switch settled(s) {
	case compute.Stopped, compute.Running, compute.Paused:
		return nil
	}
	return resource.Errorf(errdefs.ErrFailedPrecondition, "the instance is %s", s)
}

func (i *instance) attach(ctx context.Context, d *domain, mount compute.Mount, disk volumeDisk) (*record, error) {
	before := *d.facts.record
	after := before
	after.Revision++
	after.Volumes = maps.Clone(before.Volumes)
	if after.Volumes == nil {
		after.Volumes = map[string]string{}
	}
	after.Volumes[mount.Path] = disk.id
	spec := before.spec.Clone()
	spec.Mounts = append(spec.Mounts, mount)
	after, err := after.with(spec)
	if err != nil {
		return nil, err
	}
	if err := givenUp(ctx); err != nil {
		return nil, err
	}
	var device libvirtxml.DomainDisk
	err = i.reshape(ctx, after, func(next, now *libvirtxml.Domain) error {
		device = disk.device(freeTarget(next, now))
		dropVolume(next, mount.Path) // of a call that got no further
		next.Devices.Disks = append(next.Devices.Disks, device)
		return nil
	})
	if err == nil {
		err = i.p.stillThere(ctx, []volumeDisk{disk})
	}
	if err == nil && d.state.Active() {
		err = i.plug(ctx, &device)
	}
	if err == nil {
		// Also where the caller has given up: a guest that is still booting lets go of no
		// disk, so that it could not be undone.
		return &after, nil
	}
	clean, cancel := i.p.cleanup(ctx)
	defer cancel()
	back := before
	back.Revision = after.Revision + 1
	if undo := i.unplugVolume(clean, mount.Path); undo != nil {
		return nil, errors.Join(err, undo)
	}
	undo := i.reshape(clean, back, func(next, _ *libvirtxml.Domain) error { dropVolume(next, mount.Path); return nil })
	return nil, errors.Join(err, undo)
}

// plug gives a machine that runs a device.
func (i *instance) plug(ctx context.Context, device libvirtxml.Document) error {
	text, err := device.Marshal()
	if err != nil {
		return err
	}
	return i.do(ctx, func(d *lv.Domain) error { return d.AttachDeviceFlags(text, lv.DOMAIN_DEVICE_MODIFY_LIVE) })
}

// DetachVolume implements compute.VolumeAttacher. The guest is asked to let go of the
// disk, and waited for.
func (i *instance) DetachVolume(ctx context.Context, at string) error {
	return i.rewire(ctx, "detach volume", func(ctx context.Context) (*record, error) {
		d, err := i.loadOwned(ctx, "")
		if err != nil {
			return nil, err
		}
		after := *d.facts.record
		n := slices.IndexFunc(after.spec.Mounts, func(m compute.Mount) bool { return path.Clean(m.Path) == path.Clean(at) })
		if n < 0 {
			return nil, resource.Errorf(errdefs.ErrNotFound, "the instance has no mount at %s", resource.Quote(at))
		}
		at := after.spec.Mounts[n].Path
		if err := pluggable(d.state); err != nil {
			return nil, err
		}
		if err := givenUp(ctx); err != nil {
			return nil, err
		}
		if d.state.Active() {
			if err := i.unplugVolume(ctx, at); err != nil {
				return nil, err
			}
		}
		after.Revision++
		after.Volumes = maps.Clone(after.Volumes)
		delete(after.Volumes, at)
		spec := after.spec.Clone()
		spec.Mounts = slices.Delete(spec.Mounts, n, n+1)
		if after, err = after.with(spec); err != nil {
			return nil, err
		}
		if err := i.reshape(ctx, after, func(next, _ *libvirtxml.Domain) error { dropVolume(next, at); return nil }); err != nil {
			return nil, err
		}
		return &after, nil
	})
}

// unplugVolume takes the disk of a mount from a machine, if it runs and has it.
func (i *instance) unplugVolume(ctx context.Context, at string) error {
	return i.unplug(ctx, "disk "+serialOf(at), func(live *libvirtxml.Domain) *libvirtxml.DomainAlias {
		disk, _ := volumeAt(live, at)
		return disk.Alias
	})
}

// unplugPatience is how long a guest has to let go of a device.
const unplugPatience = 10 * time.Second

// unplug takes a device from a machine, if it runs and has it.
func (i *instance) unplug(ctx context.Context, what string, find func(live *libvirtxml.Domain) *libvirtxml.DomainAlias) error {
	alias := func() (string, error) {
		return onDomain(ctx, i.p, i.id, func(d *lv.Domain) (string, error) {
			if active, err := d.IsActive(); err != nil || !active {
				return "", err
			}
			live, err := describedDomain(d, 0)
			if err != nil {
				return "", err
			}
			if a := find(live); a != nil {
				return a.Name, nil
			}
			return "", nil
		})
	}
	name, err := alias()
	if err != nil || name == "" {
		return err
	}
	gone, stop := i.p.tidings.await(deviceOf(i.id, name))
	defer stop()
	if err := i.do(ctx, func(d *lv.Domain) error { return d.DetachDeviceAlias(name, lv.DOMAIN_DEVICE_MODIFY_LIVE) }); err != nil {
		return err
	}
	patience := time.NewTimer(unplugPatience)
	defer patience.Stop()
	select {
	case well := <-gone:
		if well {
			return nil
		}
	case <-patience.C:
	case <-ctx.Done():
	}
	// The event may have been lost with a connection.
	switch name, err = alias(); {
	case err != nil:
		return err
	case name != "":
		return resource.Errorf(errdefs.ErrFailedPrecondition, "the guest does not let go of the %s", what)
	}
	return nil
}

func dropVolume(d *libvirtxml.Domain, at string) {
	d.Devices.Disks = slices.DeleteFunc(d.Devices.Disks, func(disk libvirtxml.DomainDisk) bool {
		return disk.Alias != nil && disk.Alias.Name == aliasOf(at)
	})
}
