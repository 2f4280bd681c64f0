//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"slices"

	"github.com/containerd/errdefs"
	lv "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt/resource"
)

// copyLive copies a disk of a machine that runs into a new file: the machine writes to
// both until they are alike, and the copy is as the disk is then. What the guest has
// only in its memory is not in it. Of an overlay only what is its own is copied, to
// another of the same base.
func (p *Provider) copyLive(ctx context.Context, pool string, to libvirtxml.StorageVolume, from content) error {
	if err := p.makeRoom(ctx, pool, to); err != nil {
		return err
	}
	path, err := onVolume(ctx, p, pool, to.Name, func(_ *lv.Connect, v *lv.StorageVol) (string, error) { return v.GetPath() })
	if err != nil {
		return err
	}
	target := libvirtxml.DomainDisk{
		Driver: &libvirtxml.DomainDiskDriver{Name: "qemu", Type: to.Target.Format.Type},
		Source: &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: path}},
	}
	if to.Allocation == nil || to.Allocation.Value == 0 {
		// Holes stay holes, without being written first. What has its room from the
		// beginning would lose it.
		target.Driver.Discard = "unmap"
	}
	description, err := target.Marshal()
	if err != nil {
		return err
	}
	flags := lv.DOMAIN_BLOCK_COPY_REUSE_EXT | lv.DOMAIN_BLOCK_COPY_TRANSIENT_JOB
	if to.BackingStore != nil {
		flags |= lv.DOMAIN_BLOCK_COPY_SHALLOW
	}
	id, disk := from.live.ref.ID, from.live.disk
	job, stop, err := p.copyJob(ctx, id, disk)
	if err != nil {
		return err
	}
	defer stop()
	begin := func() (other bool, err error) {
		return onDomain(ctx, p, id, func(d *lv.Domain) (bool, error) {
			err := d.BlockCopy(disk, description, &lv.DomainBlockCopyParameters{}, flags)
			if errors.Is(err, lv.ERR_BLOCK_COPY_ACTIVE) {
				return true, nil
			}
			return false, err
		})
	}
	other, err := begin()
	if err == nil && other {
		if err = job.takeBack(ctx); err == nil {
			other, err = begin()
		}
	}
	if err == nil && other {
		err = errCopying()
	}
	if err != nil {
		return err
	}
	select {
	case alike := <-job.told:
		if !alike {
			return resource.Errorf(errdefs.ErrAborted, "the machine did not finish the copy of its disk")
		}
	case <-job.lost:
		err = &resource.Error{Kind: errdefs.ErrUnavailable, Err: errLost, Outcome: resource.OutcomeUnknown}
	case <-ctx.Done():
		err = ended(ctx)
	}
	clean, cancel := p.cleanup(ctx)
	defer cancel()
	return errors.Join(err, job.end(clean))
}

// copyJob is a copy of a disk that a machine makes while it runs.
type copyJob struct {
	p        *Provider
	id, disk string
	told     <-chan bool
	lost     <-chan struct{}
}

// copyJob begins to listen to what becomes of a copy, until stop.
func (p *Provider) copyJob(ctx context.Context, id, disk string) (job copyJob, stop func(), err error) {
	s, err := p.link.session(ctx)
	if err != nil {
		return copyJob{}, nil, err
	}
	told, stop := p.tidings.await(copyOf(id, disk))
	return copyJob{p: p, id: id, disk: disk, told: told, lost: s.lost}, stop, nil
}

// end ends the copy, which stays as it is if it is alike, and returns when all that
// libvirt says of it has come: what comes later is of the next.
func (j copyJob) end(ctx context.Context) error {
	if _, err := onDomain(ctx, j.p, j.id, func(d *lv.Domain) (struct{}, error) { return struct{}{}, d.BlockJobAbort(j.disk, 0) }); err != nil {
		return err
	}
	for {
		select {
		case alike := <-j.told:
			if !alike {
				return nil
			}
		case <-j.lost:
			return nil
		case <-ctx.Done():
			return ended(ctx)
		}
	}
}

// takeBack ends the copy of somebody who was lost: on this host whoever copies a disk
// holds its lock, as its caller does now. Somebody of another host may be at it, until
// the copy is alike and only its end is left.
func (j copyJob) takeBack(ctx context.Context) error {
	if !j.p.opts.local() {
		disks, err := j.p.copiedDisks(ctx, j.id)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(disks, func(d libvirtxml.DomainDisk) bool { return d.Target.Dev == j.disk && d.Mirror.Ready == "yes" }) {
			return errCopying()
		}
	}
	return j.end(ctx)
}

// copiedDisks lists the disks that a machine makes copies of now.
func (p *Provider) copiedDisks(ctx context.Context, id string) ([]libvirtxml.DomainDisk, error) {
	return onDomain(ctx, p, id, func(d *lv.Domain) ([]libvirtxml.DomainDisk, error) {
		domain, err := describedDomain(d, 0)
		if err != nil || domain.Devices == nil {
			return nil, err
		}
		return slices.DeleteFunc(domain.Devices.Disks, func(d libvirtxml.DomainDisk) bool {
			return d.Target == nil || d.Mirror == nil || d.Mirror.Job != "copy"
		}), nil
	})
}

func errCopying() error {
	return resource.Errorf(errdefs.ErrUnavailable, "the machine makes another copy of the disk, which is not at its end")
}
