//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/testguest"
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
