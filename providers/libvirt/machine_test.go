//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/testguest"
	"github.com/univirt/univirt/resource"
)

func TestAMachineRunsAProgramAndGoesOff(t *testing.T) {
	p := open(t, "life")
	ctx := t.Context()
	inst, err := p.Instances().Create(ctx, machine("web", "echo", "hello"))
	require.NoError(t, err)
	began := time.Now()
	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
	t.Logf("start %s", time.Since(began))
	exit, err := inst.Wait(ctx, compute.WaitOptions{})
	t.Logf("wait %s %+v", time.Since(began), exit)
	require.NoError(t, err)
	require.True(t, exit.Success())
	text, err := os.ReadFile(p.consoleLog(inst.ID()))
	require.NoError(t, err)
	require.Contains(t, string(text), "hello")
	began = time.Now()
	require.NoError(t, inst.Delete(ctx, compute.DeleteOptions{}))
	t.Logf("delete %s", time.Since(began))
}

func TestAMachineIsStoppedByItsPowerButton(t *testing.T) {
	p := open(t, "stop")
	ctx := t.Context()
	inst, err := p.Instances().Create(ctx, machine("web"))
	require.NoError(t, err)
	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
	require.Eventually(t, func() bool {
		text, _ := os.ReadFile(p.consoleLog(inst.ID()))
		return strings.Contains(string(text), testguest.Ready)
	}, 30*time.Second, 20*time.Millisecond)
	began := time.Now()
	require.NoError(t, inst.Stop(ctx, compute.StopOptions{}))
	t.Logf("stop %s", time.Since(began))
	info, err := inst.Info(ctx)
	require.NoError(t, err)
	require.Equal(t, compute.Stopped, info.State)
	require.True(t, info.Exit.Success(), "%+v", info.Exit)
	require.NoError(t, inst.Delete(ctx, compute.DeleteOptions{}))
}

// TestAMachineWithMoreMemoryThanThereIs does not start, says which field it is, and is as
// it was.
func TestAMachineWithMoreMemoryThanThereIs(t *testing.T) {
	t.Parallel()
	p := open(t, "nomemory")
	ctx := t.Context()
	spec := machine("web")
	spec.Resources.Memory = 16 * resource.TiB
	inst, err := p.Instances().Create(ctx, spec)
	require.NoError(t, err)
	defer func() { require.NoError(t, inst.Delete(ctx, compute.DeleteOptions{})) }()
	err = inst.Start(ctx, compute.StartOptions{})
	require.ErrorIs(t, err, errdefs.ErrResourceExhausted)
	var fault *resource.Error
	require.ErrorAs(t, err, &fault)
	require.Equal(t, "resources.memory", fault.Field)
	info, err := inst.Info(ctx)
	require.NoError(t, err)
	require.Equal(t, compute.Stopped, info.State)
}
