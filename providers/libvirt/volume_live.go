//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"

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
	s, err := p.link.session(ctx)
	if err != nil {
		return err
	}
	id, disk := from.live.ref.ID, from.live.disk
	alike, stop := p.tidings.await(copyOf(id, disk))
	defer stop()
	_, err = onDomain(ctx, p, id, func(d *lv.Domain) (struct{}, error) {
		return struct{}{}, d.BlockCopy(disk, description, &lv.DomainBlockCopyParameters{}, flags)
	})
	if err != nil {
		return err
	}
	select {
	case well := <-alike:
		if !well {
			return resource.Errorf(errdefs.ErrAborted, "the machine did not finish the copy of its disk")
		}
	case <-s.lost:
		err = &resource.Error{Kind: errdefs.ErrUnavailable, Err: errLost, Outcome: resource.OutcomeUnknown}
	case <-ctx.Done():
		err = ended(ctx)
	}
	clean, cancel := p.cleanup(ctx)
	defer cancel()
	_, over := onDomain(clean, p, id, func(d *lv.Domain) (struct{}, error) { return struct{}{}, d.BlockJobAbort(disk, 0) })
	return errors.Join(err, over)
}
