package containerd

import (
	"context"
	"testing"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// garble gives an instance a record that nobody can read.
func garble(t *testing.T, p *Provider, id string, to *anypb.Any) {
	t.Helper()
	_, err := p.client.ContainerService().Update(t.Context(),
		containers.Container{ID: id, Extensions: map[string]typeurl.Any{extension: to}}, "extensions."+extension)
	require.NoError(t, err)
}

// TestAnInstanceWhoseRecordCannotBeRead holds that it is shown with the reason, that it
// can be ended and its name got back, and that nothing else is done to it.
func TestAnInstanceWhoseRecordCannotBeRead(t *testing.T) {
	t.Parallel()
	p := openGuest(t, Options{})
	ctx := t.Context()
	for name, c := range map[string]struct {
		record *anypb.Any
		kind   error
		says   string
		end    func(inst compute.Instance) error
	}{
		"damaged": {&anypb.Any{TypeUrl: recordType, Value: []byte("garbage")}, errdefs.ErrDataLoss, "cannot be read",
			func(inst compute.Instance) error { return inst.Delete(ctx, compute.DeleteOptions{Force: true}) }},
		"newer": {&anypb.Any{TypeUrl: recordType + "0", Value: []byte("{}")}, errdefs.ErrFailedPrecondition, "another release",
			func(compute.Instance) error {
				report, err := univirt.Sweep(ctx, p, univirt.SweepOptions{Owner: "somebody-else", All: true})
				assert.Empty(t, report.Removed, "whose it is is not known")
				if err == nil {
					_, err = univirt.Sweep(ctx, p, univirt.SweepOptions{All: true})
				}
				return err
			}},
	} {
		t.Run(name, func(t *testing.T) {
			spec := guestSpec("a", "sleep", "1h")
			spec.Labels = resource.Labels{"tier": "web"}
			inst := start(t, p, spec)
			ref := info(t, inst).Ref
			garble(t, p, inst.ID(), c.record)
			shows := func(state compute.State) {
				t.Helper()
				listed, err := resource.Collect(p.Instances().List(ctx, compute.Filter{}))
				require.NoError(t, err)
				require.Len(t, listed, 1)
				for _, i := range []compute.Info{info(t, inst), listed[0]} {
					assert.Equal(t, ref, i.Ref)
					assert.Equal(t, state, i.State)
					assert.Contains(t, i.Reason, c.says)
					assert.Equal(t, spec.Labels, i.Labels)
					assert.True(t, i.Managed)
					assert.Nil(t, i.Spec)
				}
			}
			refused := func(do map[string]func() error) {
				t.Helper()
				for op, do := range do {
					err := do()
					require.ErrorIs(t, err, c.kind, op)
					require.ErrorContains(t, err, c.says, op)
				}
			}
			shows(compute.Running)
			refused(map[string]func() error{
				"pause":  func() error { return compute.Pause(ctx, inst) },
				"resume": func() error { return compute.Resume(ctx, inst) },
				"update": func() error { return inst.Update(ctx, compute.Change{StopGrace: new(compute.DefaultGrace)}) },
				"exec": func() error {
					_, err := compute.Exec(ctx, inst, compute.ExecSpec{Process: compute.Process{Command: []string{"true"}}})
					return err
				},
			})
			err := inst.Delete(ctx, compute.DeleteOptions{})
			require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
			require.ErrorContains(t, err, c.says)
			shows(compute.Running)

			require.NoError(t, inst.Stop(ctx, compute.StopOptions{Force: true}))
			shows(compute.Stopped)
			require.NoError(t, inst.Stop(ctx, compute.StopOptions{}))
			refused(map[string]func() error{"start": func() error { return inst.Start(ctx, compute.StartOptions{}) }})
			report, err := univirt.Sweep(ctx, p, univirt.SweepOptions{})
			require.NoError(t, err)
			assert.Empty(t, report.Removed)

			require.NoError(t, c.end(inst))
			_, err = inst.Info(ctx)
			require.ErrorIs(t, err, errdefs.ErrNotFound)
			again, err := p.Instances().Create(context.WithoutCancel(ctx), spec)
			require.NoError(t, err, "the name is free")
			require.NoError(t, again.Delete(ctx, compute.DeleteOptions{}))
		})
	}
}
