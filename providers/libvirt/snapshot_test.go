//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	lv "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// scratch is a disk for what is written from the outside, and what is read again.
type scratch struct {
	t             *testing.T
	path, outside string
}

func newScratch(t *testing.T, p *Provider) scratch {
	t.Helper()
	folder := "/var/lib/libvirt/images"
	require.NoError(t, os.MkdirAll(p.daemon.Outside(folder), 0o755))
	name := resource.NewID() + ".qcow2"
	s := scratch{t, filepath.Join(folder, name), filepath.Join(p.daemon.Outside(folder), name)}
	s.run("qemu-img", "create", "-q", "-f", "qcow2", s.outside, "1M")
	t.Cleanup(func() { require.NoError(t, os.Remove(s.outside)) })
	return s
}

func (s scratch) run(name string, args ...string) {
	s.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(s.t, err, "%s", out)
	require.NotContains(s.t, string(out), "failed")
}

func (s scratch) write(c byte) {
	s.t.Helper()
	s.run("qemu-io", "-c", fmt.Sprintf("write -P %d 0 512", c), s.outside)
}

func (s scratch) holds(c byte) {
	s.t.Helper()
	s.run("qemu-io", "-c", fmt.Sprintf("read -P %d 0 512", c), s.outside)
}

// disk gives a machine the disk.
func (s scratch) disk(spec compute.Spec) compute.Spec {
	spec.Native = compute.Natives{DomainEdit{Version: "1", Edit: func(d *libvirtxml.Domain) error {
		d.Devices.Disks = append(d.Devices.Disks, libvirtxml.DomainDisk{
			Device: "disk",
			Driver: &libvirtxml.DomainDiskDriver{Name: "qemu", Type: "qcow2"},
			Source: &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: s.path}},
			Target: &libvirtxml.DomainDiskTarget{Dev: "vda", Bus: "virtio"},
		})
		return nil
	}}}
	return spec
}

// TestAParentThatCannotBeReadIsAnError holds that only what libvirt says to be the first
// snapshot has none before it.
func TestAParentThatCannotBeReadIsAnError(t *testing.T) {
	_, err := nameOfSnapshot((&lv.Domain{}).SnapshotCurrent(0))
	require.ErrorIs(t, err, lv.ERR_INVALID_DOMAIN)
}

func TestSnapshotsOfADisk(t *testing.T) {
	p := open(t, "snapshots")
	ctx := t.Context()
	s := newScratch(t, p)
	inst, err := p.Instances().Create(ctx, s.disk(machine("web")))
	require.NoError(t, err)
	defer func() { require.NoError(t, inst.Delete(ctx, compute.DeleteOptions{Force: true})) }()
	snapshots, err := compute.Snapshots(inst)
	require.NoError(t, err)
	for n, name := range []string{"one", "two", "three"} {
		s.write(byte('1' + n))
		_, err = snapshots.CreateSnapshot(ctx, compute.SnapshotSpec{Name: name, Labels: resource.Labels{"n": name}})
		require.NoError(t, err)
	}
	s.write('x')
	// What the record says is not what it said then.
	label := "web"
	require.NoError(t, inst.Update(ctx, compute.Change{Labels: resource.LabelPatch{"tier": &label}, Resources: &compute.Resources{CPUs: 2, Memory: 300 * resource.MiB}}))
	require.NoError(t, snapshots.RevertSnapshot(ctx, "two", compute.RevertOptions{}))
	s.holds('2')
	info, err := inst.Info(ctx)
	require.NoError(t, err)
	assert.Equal(t, compute.Stopped, info.State)
	assert.Equal(t, resource.Labels{"tier": "web"}, info.Labels)
	domain, err := Domain(ctx, inst)
	require.NoError(t, err)
	defer domain.Free()
	text, err := domain.GetXMLDesc(0)
	require.NoError(t, err)
	var d libvirtxml.Domain
	require.NoError(t, d.Unmarshal(text))
	assert.Equal(t, uint(2), d.VCPU.Current, "its next start has what the record says")

	// None is the base of another.
	require.NoError(t, snapshots.DeleteSnapshot(ctx, "one"))
	require.NoError(t, snapshots.DeleteSnapshot(ctx, "two"))
	s.holds('2')
	require.NoError(t, snapshots.RevertSnapshot(ctx, "three", compute.RevertOptions{}))
	s.holds('3')
	all, err := resource.Collect(snapshots.Snapshots(ctx))
	require.NoError(t, err)
	require.Len(t, all, 1)
	assert.Equal(t, resource.Labels{"n": "three"}, all[0].Labels)
	assert.Empty(t, all[0].Parent)
}

// TestADiskWithoutAPlaceForSnapshots holds that a machine with one has none, and is told
// why.
func TestADiskWithoutAPlaceForSnapshots(t *testing.T) {
	t.Parallel()
	p := open(t, "rawdisk")
	ctx := t.Context()
	vol, err := p.Volumes().Create(ctx, storage.Spec{Name: "data", Mode: storage.Block, Size: resource.MiB})
	require.NoError(t, err)
	defer func() { require.NoError(t, vol.Delete(ctx, storage.DeleteOptions{})) }()
	importDisk(t, p)
	spec := machine("web")
	spec.Image = diskName
	spec.Mounts = []compute.Mount{{Type: compute.MountDevice, Source: "data", Path: "/dev/vdb"}}
	inst, err := p.Instances().Create(ctx, spec)
	require.NoError(t, err)
	defer func() { require.NoError(t, inst.Delete(ctx, compute.DeleteOptions{Force: true})) }()
	snapshots, err := compute.Snapshots(inst)
	require.NoError(t, err)
	_, err = snapshots.CreateSnapshot(ctx, compute.SnapshotSpec{Name: "one"})
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.ErrorContains(t, err, keptWithin)
	all, err := resource.Collect(snapshots.Snapshots(ctx))
	require.NoError(t, err)
	require.Empty(t, all)
}

func TestSnapshotsOfARunningMachine(t *testing.T) {
	t.Parallel()
	p := open(t, "snapshots")
	ctx := t.Context()
	s := newScratch(t, p)
	inst, err := p.Instances().Create(ctx, s.disk(machine("web")))
	require.NoError(t, err)
	defer func() { require.NoError(t, inst.Delete(ctx, compute.DeleteOptions{Force: true})) }()
	s.write('1')
	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
	snapshots, err := compute.Snapshots(inst)
	require.NoError(t, err)
	state := func() compute.Info {
		info, err := inst.Info(ctx)
		require.NoError(t, err)
		return info
	}
	began := time.Now()
	_, err = snapshots.CreateSnapshot(ctx, compute.SnapshotSpec{Name: "disk"})
	require.NoError(t, err)
	t.Logf("taken in %s", time.Since(began))
	_, err = snapshots.CreateSnapshot(ctx, compute.SnapshotSpec{Name: "memory", Memory: true})
	require.NoError(t, err)
	require.Equal(t, compute.Running, state().State)
	require.NoError(t, compute.Pause(ctx, inst))
	_, err = snapshots.CreateSnapshot(ctx, compute.SnapshotSpec{Name: "paused", Memory: true})
	require.NoError(t, err)
	require.ErrorIs(t, snapshots.RevertSnapshot(ctx, "disk", compute.RevertOptions{}), errdefs.ErrFailedPrecondition)

	first := state()
	require.NoError(t, snapshots.RevertSnapshot(ctx, "disk", compute.RevertOptions{Force: true}))
	stopped := state()
	require.Equal(t, compute.Stopped, stopped.State)
	require.NotNil(t, stopped.Exit)
	assert.Equal(t, first.Run, stopped.Exit.Run)
	s.holds('1')
	s.write('x')

	require.NoError(t, snapshots.RevertSnapshot(ctx, "memory", compute.RevertOptions{}))
	running := state()
	require.Equal(t, compute.Running, running.State)
	assert.NotEqual(t, first.Run, running.Run, "it is another run")
	assert.Empty(t, running.Pending)
	require.NoError(t, snapshots.RevertSnapshot(ctx, "paused", compute.RevertOptions{Force: true}))
	require.Equal(t, compute.Paused, state().State)
	require.NoError(t, compute.Resume(ctx, inst))
	require.NoError(t, inst.Stop(ctx, compute.StopOptions{Force: true}))
	s.holds('1')
	_, err = snapshots.CreateSnapshot(ctx, compute.SnapshotSpec{Name: "off", Memory: true})
	require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
}
