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
