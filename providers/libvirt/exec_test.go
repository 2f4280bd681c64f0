//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/testguest"
)

// booted makes a machine that answers.
func booted(t *testing.T, p *Provider, name string) *instance {
	t.Helper()
	inst, err := p.Instances().Create(t.Context(), machine(name))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, inst.Delete(context.Background(), compute.DeleteOptions{Force: true})) })
	require.NoError(t, inst.Start(t.Context(), compute.StartOptions{}))
	began := time.Now()
	_, err = compute.Exec(t.Context(), inst, compute.ExecSpec{Process: compute.Process{Command: []string{"true"}}})
	require.ErrorIs(t, err, errdefs.ErrUnavailable, "not ready yet")
	_, err = compute.WaitFor(t.Context(), inst, compute.LevelAgent)
	require.NoError(t, err)
	t.Logf("booted in %s", time.Since(began))
	return inst.(*instance)
}

func TestExecInAGuest(t *testing.T) {
	t.Parallel()
	p := open(t, "exec")
	inst := booted(t, p, "web")
	began := time.Now()
	out, err := compute.Output(t.Context(), inst, testguest.Program, "both", "2")
	require.NoError(t, err)
	t.Logf("exec %s", time.Since(began))
	assert.Equal(t, "out 1\nout 2\n", string(out))
	began = time.Now()
	const size = 12 << 20
	out, err = compute.Output(t.Context(), inst, testguest.Program, "flood", "12582912")
	require.NoError(t, err)
	t.Logf("%d bytes %s", size, time.Since(began))
	assert.Len(t, out, size)
	text := strings.Repeat("0123456789abcdef", 64<<10)
	var stdout bytes.Buffer
	began = time.Now()
	x, err := compute.Exec(t.Context(), inst, compute.ExecSpec{
		Process: compute.Process{Command: []string{"cat"}}, Stdin: strings.NewReader(text), Stdout: &stdout})
	require.NoError(t, err)
	exit, err := x.Wait(t.Context())
	require.NoError(t, err)
	t.Logf("1 MiB in and out %s", time.Since(began))
	assert.Equal(t, compute.ExecExit{Known: true}, exit)
	assert.Equal(t, len(text), stdout.Len())
}

func timeout(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

// TestAGuestThatOnlyItsAgentReaches ignores its power button, and is switched off by its
// agent before the grace is over.
func TestAGuestThatOnlyItsAgentReaches(t *testing.T) {
	t.Parallel()
	p := open(t, "byagent")
	ctx := t.Context()
	spec := machine("web")
	spec.Boot.CommandLine += " univirt.ignore_acpi"
	inst, err := p.Instances().Create(ctx, spec)
	require.NoError(t, err)
	defer func() { require.NoError(t, inst.Delete(ctx, compute.DeleteOptions{Force: true})) }()
	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
	_, err = compute.WaitFor(ctx, inst, compute.LevelAgent)
	require.NoError(t, err)
	began := time.Now()
	const grace = 2 * time.Minute
	require.NoError(t, inst.Stop(ctx, compute.StopOptions{Grace: grace}))
	require.Less(t, time.Since(began), grace)
	info, err := inst.Info(ctx)
	require.NoError(t, err)
	require.Equal(t, "powered off", info.Exit.Reason)
}
