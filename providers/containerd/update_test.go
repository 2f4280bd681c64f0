package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/providertest/guest"
	"github.com/univirt/univirt/resource"
)

// limits asks the guest what it is limited to.
func limits(t *testing.T, inst compute.Instance) guest.Limits {
	t.Helper()
	var l guest.Limits
	require.NoError(t, json.Unmarshal([]byte(run(t, inst, compute.ExecSpec{}, "limits").out), &l))
	return l
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	p := openGuest(t, Options{})
	ctx := t.Context()
	spec := guestSpec("a", "sleep", "1h")
	spec.Resources = compute.Resources{Memory: 64 * resource.MiB, PIDs: 100, CPUs: 0.5}
	spec.Labels = resource.Labels{"keep": "1", "drop": "1"}
	inst := start(t, p, spec)
	assert.Equal(t, guest.Limits{Memory: 64 * resource.MiB, PIDs: 100, CPUs: 0.5}, limits(t, inst))
	before := info(t, inst)
	update := func(change compute.Change) compute.Info {
		t.Helper()
		require.NoError(t, inst.Update(ctx, change))
		return info(t, inst)
	}
	two := "2"
	i := update(compute.Change{Labels: resource.LabelPatch{"drop": nil, "new": &two}, IfRevision: before.Revision})
	assert.Equal(t, resource.Labels{"keep": "1", "new": "2"}, i.Labels)
	assert.Equal(t, i.Labels, i.Spec.Labels)
	assert.NotEqual(t, before.Revision, i.Revision)
	require.ErrorIs(t, inst.Update(ctx, compute.Change{IfRevision: before.Revision}), errdefs.ErrAborted)
	require.ErrorIs(t, inst.Stop(ctx, compute.StopOptions{IfRevision: before.Revision}), errdefs.ErrAborted)
	require.ErrorIs(t, inst.Delete(ctx, compute.DeleteOptions{IfRevision: before.Revision}), errdefs.ErrAborted)
	require.ErrorIs(t, inst.Start(ctx, compute.StartOptions{IfRevision: before.Revision}), errdefs.ErrAborted)

	i = update(compute.Change{Resources: &compute.Resources{Memory: 32 * resource.MiB, CPUs: 0.25}})
	assert.Equal(t, guest.Limits{Memory: 32 * resource.MiB, PIDs: 0, CPUs: 0.25}, limits(t, inst))
	assert.Empty(t, i.Pending)
	// What waits for the next start.
	i = update(compute.Change{Resources: &compute.Resources{PIDs: 50}, Apply: compute.ApplyNextStart})
	assert.Equal(t, []string{"resources.cpus", "resources.memory", "resources.pids"}, i.Pending)
	assert.Equal(t, guest.Limits{Memory: 32 * resource.MiB, PIDs: 0, CPUs: 0.25}, limits(t, inst))
	i = update(compute.Change{Resources: &compute.Resources{PIDs: 50, ShmSize: resource.MiB}})
	assert.Equal(t, []string{"resources.shmSize"}, i.Pending)
	assert.Equal(t, guest.Limits{PIDs: 50}, limits(t, inst))
	err := inst.Update(ctx, compute.Change{Resources: &compute.Resources{PIDs: 50, ShmSize: 2 * resource.MiB}, Apply: compute.ApplyLive})
	field(t, err, errdefs.ErrFailedPrecondition, "resources.shmSize")
	same := info(t, inst)
	assert.Equal(t, i.Revision, same.Revision)
	require.NoError(t, inst.Stop(ctx, compute.StopOptions{Force: true}))
	assert.Empty(t, info(t, inst).Pending)
	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
	assert.Equal(t, guest.Limits{PIDs: 50}, limits(t, inst))
	assert.Empty(t, info(t, inst).Pending)

	grace := time.Minute
	assert.Equal(t, grace, update(compute.Change{StopGrace: &grace}).Spec.StopGrace)
	// While paused, and while stopped.
	require.NoError(t, compute.Pause(ctx, inst))
	update(compute.Change{Resources: &compute.Resources{PIDs: 60}})
	require.NoError(t, compute.Resume(ctx, inst))
	assert.Equal(t, guest.Limits{PIDs: 60}, limits(t, inst))
	require.NoError(t, inst.Stop(ctx, compute.StopOptions{Force: true}))
	field(t, inst.Update(ctx, compute.Change{Resources: &compute.Resources{PIDs: 70}, Apply: compute.ApplyLive}), errdefs.ErrFailedPrecondition, "apply")
	update(compute.Change{Resources: &compute.Resources{PIDs: 70}})
	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
	assert.Equal(t, guest.Limits{PIDs: 70}, limits(t, inst))
	policy := compute.RestartPolicy{Mode: compute.RestartAlways}
	assert.Equal(t, policy, update(compute.Change{Restart: &policy}).Spec.Restart, "for whoever supervises later")
	field(t, inst.Update(ctx, compute.Change{Resources: &compute.Resources{CPUSet: "0,999"}}), errdefs.ErrInvalidArgument, "resources.cpuSet")
	assert.Equal(t, guest.Limits{PIDs: 70}, limits(t, inst))
}

// TestHostThatDoesNotCountSwap holds that a bound which the kernel would ignore is
// refused, and declared so.
func TestHostThatDoesNotCountSwap(t *testing.T) {
	t.Parallel()
	p := openGuest(t, Options{})
	p.host.swap = false
	p.kind = containersOn(p.host, false)
	description, err := p.Describe(t.Context())
	require.NoError(t, err)
	kind := description.Kinds[compute.Container]
	assert.Equal(t, resource.FieldRefused, kind.Fields.Rule("resources.swap").Level)
	assert.Equal(t, resource.FieldRefused, kind.Changeable.Rule("resources.swap").Level)

	spec := guestSpec("web", "sleep", "1h")
	spec.Resources.Memory, spec.Resources.Swap = 64*resource.MiB, resource.MiB
	plan, err := compute.PlanOf(t.Context(), p.Instances(), spec)
	require.NoError(t, err)
	require.Len(t, plan.Gaps, 1)
	assert.Equal(t, "resources.swap", plan.Gaps[0].Field)
	_, err = p.Instances().Create(t.Context(), spec)
	field(t, err, errors.ErrUnsupported, "resources.swap")

	spec.Resources.Swap = 0
	inst := create(t, p, spec)
	field(t, inst.Update(t.Context(), compute.Change{Resources: &compute.Resources{Memory: 64 * resource.MiB, Swap: 1}}), errors.ErrUnsupported, "resources.swap")
	require.NoError(t, inst.Update(t.Context(), compute.Change{Resources: &compute.Resources{Memory: 32 * resource.MiB}}))
}

// lateUpdate does something in front of each update of a task.
type lateUpdate struct {
	tasksapi.TasksClient
	before func()
}

func (l lateUpdate) Update(ctx context.Context, in *tasksapi.UpdateTaskRequest, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	l.before()
	return l.TasksClient.Update(ctx, in, opts...)
}

// TestUpdateOfARunThatEnds: the limits of a run that ends meanwhile are those of
// the next one, unless they were for this one alone.
func TestUpdateOfARunThatEnds(t *testing.T) {
	for apply, want := range map[compute.ApplyMode]error{compute.ApplyAuto: nil, compute.ApplyLive: errdefs.ErrFailedPrecondition} {
		t.Run(string(apply), func(t *testing.T) {
			p := openGuest(t, Options{})
			inst := start(t, p, guestSpec("a", "sleep", "1h"))
			tasks := p.client.TaskService()
			late := lateUpdate{TasksClient: tasks, before: func() {
				_, err := tasks.Kill(p.dress(t.Context()), &tasksapi.KillRequest{ContainerID: inst.ID(), Signal: 9, All: true})
				assert.NoError(t, err)
			}}
			late.before = sync.OnceFunc(late.before)
			slow, err := client.New(p.conn.address, client.WithServices(client.WithTaskClient(late)))
			require.NoError(t, err)
			fast := p.client
			p.client = slow
			t.Cleanup(func() { p.client = fast; assert.NoError(t, slow.Close()) })
			err = inst.Update(t.Context(), compute.Change{Resources: &compute.Resources{Memory: 32 * resource.MiB}, Apply: apply})
			require.ErrorIs(t, err, want)
			if want == nil {
				assert.EqualValues(t, 32*resource.MiB, info(t, inst).Spec.Resources.Memory)
			}
		})
	}
}
