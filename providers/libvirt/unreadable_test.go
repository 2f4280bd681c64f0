//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"
	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// TestAnInstanceWhoseRecordCannotBeRead holds that it is shown with the reason, that it
// can be ended and its name got back, and that nothing else is done to it.
func TestAnInstanceWhoseRecordCannotBeRead(t *testing.T) {
	t.Parallel()
	p := open(t, "unreadable")
	ctx := t.Context()
	halting := newKernels(t).file(halts)
	end := map[string]func(inst compute.Instance) error{
		"damaged": func(inst compute.Instance) error { return inst.Delete(ctx, compute.DeleteOptions{Force: true}) },
		"newer": func(compute.Instance) error {
			report, err := univirt.Sweep(ctx, p, univirt.SweepOptions{Owner: "somebody-else", All: true})
			require.Empty(t, report.Removed, "whose it is is not known")
			if err == nil {
				_, err = univirt.Sweep(ctx, p, univirt.SweepOptions{All: true})
			}
			return err
		},
	}
	newer := element{prefix: metaRecord.prefix, space: metaPrefix + "another/9"}
	for name, c := range map[string]struct {
		space element
		kind  error
		says  string
	}{
		"damaged": {metaRecord, errdefs.ErrDataLoss, "cannot be read"},
		"newer":   {newer, errdefs.ErrFailedPrecondition, "another release"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := machine("web")
			spec.Boot = &compute.Boot{Kernel: halting}
			inst, err := p.Instances().Create(ctx, spec)
			require.NoError(t, err)
			require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
			before, err := inst.Info(ctx)
			require.NoError(t, err)
			d, err := Domain(ctx, inst)
			require.NoError(t, err)
			defer d.Free()
			if c.space != metaRecord {
				require.NoError(t, d.SetMetadata(lv.DOMAIN_METADATA_ELEMENT, "", "", metaRecord.space, lv.DOMAIN_AFFECT_CONFIG))
			}
			require.NoError(t, d.SetMetadata(lv.DOMAIN_METADATA_ELEMENT, "<doc>garbage</doc>", c.space.prefix, c.space.space, lv.DOMAIN_AFFECT_CONFIG))
			shows := func(state compute.State) {
				t.Helper()
				listed, err := resource.Collect(p.Instances().List(ctx, compute.Filter{Names: []string{"web"}}))
				require.NoError(t, err)
				require.Len(t, listed, 1)
				info, err := inst.Info(ctx)
				require.NoError(t, err)
				for _, i := range []compute.Info{info, listed[0]} {
					require.Equal(t, before.Ref, i.Ref)
					require.Equal(t, state, i.State)
					require.Contains(t, i.Reason, c.says)
					require.True(t, i.Managed)
					require.Nil(t, i.Spec)
				}
			}
			refuses := func(op string, err error) {
				t.Helper()
				require.ErrorIs(t, err, c.kind, op)
				require.ErrorContains(t, err, c.says, op)
			}
			shows(compute.Running)
			found, err := p.Instances().Get(ctx, "web")
			require.NoError(t, err)
			require.Equal(t, inst.ID(), found.ID())
			refuses("pause", compute.Pause(ctx, inst))
			refuses("update", inst.Update(ctx, compute.Change{StopGrace: new(compute.DefaultGrace)}))
			err = inst.Delete(ctx, compute.DeleteOptions{})
			require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
			require.ErrorContains(t, err, c.says)
			shows(compute.Running)

			require.NoError(t, inst.Stop(ctx, compute.StopOptions{Force: true}))
			shows(compute.Stopped)
			require.NoError(t, inst.Stop(ctx, compute.StopOptions{}))
			refuses("start", inst.Start(ctx, compute.StartOptions{}))
			report, err := univirt.Sweep(ctx, p, univirt.SweepOptions{})
			require.NoError(t, err)
			require.Empty(t, report.Removed)

			require.NoError(t, end[name](inst))
			_, err = inst.Info(ctx)
			require.ErrorIs(t, err, errdefs.ErrNotFound)
			again, err := p.Instances().Create(ctx, spec)
			require.NoError(t, err, "the name is free")
			require.NoError(t, again.Delete(ctx, compute.DeleteOptions{}))
		})
	}
}
