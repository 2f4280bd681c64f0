//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"
	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

func TestPinning(t *testing.T) {
	for set, want := range map[string][]bool{
		"": {true, true, true}, "1": {false, true, false}, "0,2": {true, false, true}, "1-2": {false, true, true}, "00": {true, false, false},
	} {
		pins, err := pinning(set, 3)
		require.NoError(t, err, set)
		require.Equal(t, want, pins, set)
	}
	for _, set := range []string{"3", "0-3", "x"} {
		_, err := pinning(set, 3)
		require.Error(t, err, set)
	}
}

func TestUpdateOfAMachineThatRuns(t *testing.T) {
	p := open(t, "retune")
	ctx := t.Context()
	inst := booted(t, p, "web")
	update := func(apply compute.ApplyMode, change func(*compute.Resources)) error {
		info, err := inst.Info(ctx)
		require.NoError(t, err)
		r := info.Spec.Resources
		change(&r)
		return inst.Update(ctx, compute.Change{Resources: &r, Apply: apply})
	}
	requirePending := func(paths ...string) {
		info, err := inst.Info(ctx)
		require.NoError(t, err)
		require.Equal(t, paths, info.Pending)
	}
	description := func() string {
		d, err := Domain(ctx, inst)
		require.NoError(t, err)
		defer d.Free()
		text, err := d.GetXMLDesc(0)
		require.NoError(t, err)
		return text
	}
	refuses := func(field string, change func(*compute.Resources)) {
		before, err := inst.Info(ctx)
		require.NoError(t, err)
		err = update(compute.ApplyLive, change)
		require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
		var own *resource.Error
		require.ErrorAs(t, err, &own)
		require.Equal(t, field, own.Field, "%v", err)
		t.Log(err)
		after, err := inst.Info(ctx)
		require.NoError(t, err)
		require.Equal(t, before, after)
	}

	refuses("resources.cpus", func(r *compute.Resources) { r.CPUs, r.Memory = 9, 128*resource.MiB })
	require.NoError(t, update(compute.ApplyLive, func(r *compute.Resources) { r.CPUSet = "0" }))
	require.Contains(t, description(), "<vcpupin vcpu='0' cpuset='0'/>")
	requirePending()
	require.NoError(t, update(compute.ApplyLive, func(r *compute.Resources) { r.CPUSet = "" }))
	require.NotContains(t, description(), "<vcpupin vcpu='0' cpuset='0'/>")

	// A host without the controller of cgroups has no weights.
	d, err := Domain(ctx, inst)
	require.NoError(t, err)
	_, noWeights := d.GetSchedulerParametersFlags(lv.DOMAIN_AFFECT_LIVE)
	require.NoError(t, d.Free())
	weigh := func(r *compute.Resources) { r.CPUWeight = 200 }
	if noWeights != nil {
		refuses("resources.cpuWeight", weigh)
	} else {
		require.NoError(t, update(compute.ApplyLive, weigh))
		requirePending()
	}

	require.NoError(t, update(compute.ApplyAuto, func(r *compute.Resources) { r.CPUs, r.Memory = 9, 192*resource.MiB }))
	requirePending("resources.cpus")

	// Nobody saw what became of the memory.
	inst2 := p.handle(inst.id, "web")
	i, err := inst2.load(ctx)
	require.NoError(t, err)
	torn := *i.facts.record
	had := torn.spec.Resources
	had.Memory, had.CPUs = 256*resource.MiB, 1
	torn.Live, torn.LiveRun = &had, i.lastRun()
	require.NoError(t, p.write(ctx, inst.id, metaRecord, torn))
	requirePending("resources.cpus")

	// A guest that is paused answers nothing.
	require.NoError(t, inst.Pause(ctx))
	refuses("resources.memory", func(r *compute.Resources) { r.CPUs, r.Memory = 1, 200*resource.MiB })
	require.NoError(t, inst.Resume(ctx))

	// A guest that does not answer keeps what it has, and is told so.
	out, err := compute.Output(ctx, inst, "/bin/sh", "-c", "cd /sys/bus/virtio/drivers/virtio_balloon && echo virtio* > unbind; ls")
	t.Logf("%s %v", out, err)
	require.NoError(t, err)
	// The driver takes back what it gave when it goes, which is told a second later.
	var before compute.Info
	require.Eventually(t, func() bool {
		before, err = inst.Info(ctx)
		return err == nil && slices.Equal(before.Pending, []string{"resources.cpus", "resources.memory"})
	}, 10*time.Second, 50*time.Millisecond)
	err = update(compute.ApplyLive, func(r *compute.Resources) { r.CPUs, r.Memory = 1, 128*resource.MiB })
	require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
	t.Log(err)
	after, err := inst.Info(context.Background())
	require.NoError(t, err)
	require.Equal(t, before.Spec, after.Spec)
	require.Equal(t, before.Pending, after.Pending)
}
