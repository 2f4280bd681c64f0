//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	lv "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// TestACopyThatSomebodyLeftIsTakenBack holds that a copy of a disk which nobody will end
// is not in the way of a clone, and that a sweep ends it.
func TestACopyThatSomebodyLeftIsTakenBack(t *testing.T) {
	p := open(t, "copy-left")
	ctx := t.Context()
	inst := withDisk(t, p)
	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
	d, err := Domain(ctx, inst)
	require.NoError(t, err)
	defer d.Free()
	left := resource.NewID()
	to, err := onVolume(ctx, p, p.opts.Pool, rootFile(inst.ID()), func(_ *lv.Connect, v *lv.StorageVol) (libvirtxml.StorageVolume, error) {
		return likeRoot(v, left)
	})
	require.NoError(t, err)
	require.NoError(t, p.makeRoom(ctx, p.opts.Pool, to))
	defer func() { require.NoError(t, p.removeFile(ctx, p.opts.Pool, to.Name)) }()
	path, err := onVolume(ctx, p, p.opts.Pool, to.Name, func(_ *lv.Connect, v *lv.StorageVol) (string, error) { return v.GetPath() })
	require.NoError(t, err)
	begin := func() error {
		return d.BlockCopy(rootTarget, fmt.Sprintf(`<disk type="file"><driver name="qemu" type="qcow2"/><source file=%q/></disk>`, path),
			&lv.DomainBlockCopyParameters{}, lv.DOMAIN_BLOCK_COPY_REUSE_EXT|lv.DOMAIN_BLOCK_COPY_TRANSIENT_JOB|lv.DOMAIN_BLOCK_COPY_SHALLOW)
	}
	require.NoError(t, begin())
	require.ErrorIs(t, begin(), lv.ERR_BLOCK_COPY_ACTIVE)
	requireNoCopy := func() {
		now, err := describedDomain(d, 0)
		require.NoError(t, err)
		for _, disk := range now.Devices.Disks {
			require.Nil(t, disk.Mirror)
		}
	}
	copied, err := inst.(compute.Cloner).Clone(ctx, compute.CloneOptions{Name: "copied"})
	require.NoError(t, err)
	require.NoError(t, copied.Delete(ctx, compute.DeleteOptions{}))
	requireNoCopy()

	require.NoError(t, begin())
	sweep := func() []resource.Ref {
		report, err := univirt.Sweep(ctx, p, univirt.SweepOptions{})
		require.NoError(t, err)
		require.Empty(t, report.Failed)
		return slices.DeleteFunc(report.Removed, func(r resource.Ref) bool { return r.Kind != kindCopy })
	}
	require.NoError(t, p.locked(ctx, inst.ID(), func() error {
		require.Empty(t, sweep(), "somebody is at it")
		return nil
	}))
	require.Equal(t, []resource.Ref{p.ref(kindCopy, "web", inst.ID())}, sweep())
	requireNoCopy()
	require.Empty(t, sweep())
}
