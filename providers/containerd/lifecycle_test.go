package containerd

import (
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	testimage "github.com/univirt/univirt/providers/providertest/image"
)

func TestLifecycle(t *testing.T) {
	p := openGuest(t, Options{Owner: "tester"})
	ctx := t.Context()
	spec := guestSpec("web", "both", "2")
	spec.Labels = map[string]string{"tier": "web"}
	inst := create(t, p, spec)

	i := info(t, inst)
	assert.Equal(t, compute.Stopped, i.State)
	assert.Equal(t, "web", i.Ref.Name)
	assert.Equal(t, inst.ID(), i.Ref.ID)
	assert.Equal(t, "tester", i.Owner.Name)
	assert.Equal(t, "web", i.Labels["tier"])
	assert.Len(t, i.Labels, 1)
	assert.Empty(t, i.Run)
	assert.Nil(t, i.Exit)
	_, err := inst.Wait(ctx, compute.WaitOptions{})
	require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)

	_, err = p.Instances().Create(ctx, spec)
	require.ErrorIs(t, err, errdefs.ErrAlreadyExists)

	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
	run := info(t, inst).Run
	require.NotEmpty(t, run)
	exit := wait(t, inst, run)
	assert.Equal(t, compute.Exit{Run: run, Known: true, Started: exit.Started, Finished: exit.Finished}, exit)
	assert.False(t, exit.Started.IsZero())
	assert.False(t, exit.Finished.Before(exit.Started))
	stdout, stderr := output(t, inst, run)
	assert.Equal(t, "out 1\nout 2\n", stdout)
	assert.Equal(t, "err 1\nerr 2\n", stderr)
	// The task is gone by now, and the exit is not.
	assert.Equal(t, exit, wait(t, inst, run))
	assert.Equal(t, exit, wait(t, inst, ""))
	assert.Equal(t, exit, *info(t, inst).Exit)
	assert.Equal(t, compute.Exit{Run: "other"}, wait(t, inst, "other"))

	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
	i = info(t, inst)
	assert.NotEqual(t, run, i.Run)
	assert.Equal(t, 2, i.Runs)
	wait(t, inst, "")
	require.NoError(t, inst.Delete(ctx, compute.DeleteOptions{}))
	_, err = inst.Info(ctx)
	require.ErrorIs(t, err, errdefs.ErrNotFound)
	require.ErrorIs(t, inst.Delete(ctx, compute.DeleteOptions{}), errdefs.ErrNotFound)
	require.ErrorIs(t, inst.Start(ctx, compute.StartOptions{}), errdefs.ErrNotFound)
	create(t, p, spec)
}

func TestStop(t *testing.T) {
	p := openGuest(t, Options{})
	ctx := t.Context()
	inst := ready(t, p, guestSpec("a", "ready", "0s"))
	require.ErrorIs(t, inst.Delete(ctx, compute.DeleteOptions{}), errdefs.ErrFailedPrecondition)
	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
	require.NoError(t, inst.Stop(ctx, compute.StopOptions{}))
	i := info(t, inst)
	assert.Equal(t, compute.Stopped, i.State)
	assert.Equal(t, 128+15, i.Exit.Code)
	require.NoError(t, inst.Stop(ctx, compute.StopOptions{}))
	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
	require.NoError(t, inst.Stop(ctx, compute.StopOptions{Force: true}))
	assert.Equal(t, 128+9, info(t, inst).Exit.Code)
	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
	require.NoError(t, compute.Pause(ctx, inst))
	require.NoError(t, inst.Stop(ctx, compute.StopOptions{}))
	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
	require.NoError(t, compute.Pause(ctx, inst))
	require.NoError(t, inst.Stop(ctx, compute.StopOptions{Force: true}))
	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
	require.NoError(t, compute.Pause(ctx, inst))
	require.NoError(t, inst.Delete(ctx, compute.DeleteOptions{Force: true}))
}

func TestStartOfWhatIsNotThere(t *testing.T) {
	p := openGuest(t, Options{})
	ctx := t.Context()
	spec := guestSpec("a")
	spec.Process.Command = []string{"/none"}
	inst := create(t, p, spec)
	field(t, inst.Start(ctx, compute.StartOptions{}), errdefs.ErrInvalidArgument, "process.command")
	i := info(t, inst)
	assert.Equal(t, compute.Stopped, i.State)
	assert.Empty(t, i.Run)
	spec = guestSpec("b")
	spec.Process.User = "ghost"
	_, err := p.Instances().Create(ctx, spec)
	field(t, err, errdefs.ErrInvalidArgument, "process.user")
	spec.Process.User = testimage.User
	spec.Process.Command = []string{testimage.Path, "id"}
	inst = start(t, p, spec)
	out, _ := output(t, inst, "")
	assert.Equal(t, "uid=1000 gid=1000 groups=1000,2000\n", out)
}
