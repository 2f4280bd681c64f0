//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"
	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// cpus is a machine whose processors come and go.
type cpus struct {
	*testing.T
	p    *Provider
	inst *instance
}

// give has the machine have so many processors.
func (c cpus) give(apply compute.ApplyMode, n float64) error {
	r := c.info().Spec.Resources
	r.CPUs = n
	return c.inst.Update(c.Context(), compute.Change{Resources: &r, Apply: apply})
}

func (c cpus) info() compute.Info {
	c.Helper()
	info, err := c.inst.Info(c.Context())
	require.NoError(c, err)
	return info
}

// requires holds that the guest uses so many processors, of those that the machine has,
// and that nothing is told to wait, but for these.
func (c cpus) requires(used, has int, pending ...string) {
	c.Helper()
	out, err := compute.Output(c.Context(), c.inst, "/bin/sh", "-c", "grep -c ^processor /proc/cpuinfo; nproc")
	require.NoError(c, err)
	require.Equal(c, strings.Repeat(strconv.Itoa(used)+"\n", 2), string(out))
	require.Equal(c, has, c.has())
	require.Equal(c, pending, c.info().Pending)
}

// has is how many processors the machine has.
func (c cpus) has() int {
	c.Helper()
	d, err := Domain(c.Context(), c.inst)
	require.NoError(c, err)
	defer d.Free()
	n, err := d.GetVcpusFlags(lv.DOMAIN_VCPU_LIVE)
	require.NoError(c, err)
	return int(n)
}

func (c cpus) answers() {
	c.Helper()
	_, err := compute.WaitFor(c.Context(), c.inst, compute.LevelAgent)
	require.NoError(c, err)
}

// refuses holds that a change that is to be live says why it is not, and does nothing.
func (c cpus) refuses(n float64) {
	c.Helper()
	before := c.info()
	err := c.give(compute.ApplyLive, n)
	c.Log(err)
	require.ErrorIs(c, err, errdefs.ErrFailedPrecondition)
	var own *resource.Error
	require.ErrorAs(c, err, &own)
	require.Equal(c, "resources.cpus", own.Field)
	require.Equal(c, before, c.info())
}

func TestProcessorsOfAMachineThatRuns(t *testing.T) {
	p := open(t, "cpus")
	c := cpus{t, p, booted(t, p, "web")}
	ctx := t.Context()
	c.requires(1, 1)
	began := time.Now()
	require.NoError(t, c.give(compute.ApplyLive, 2))
	t.Logf("one more in %s", time.Since(began))
	c.requires(2, 2)
	revision := c.info().Revision
	require.NoError(t, c.give(compute.ApplyLive, 2))
	require.Equal(t, revision, c.info().Revision)
	began = time.Now()
	require.NoError(t, c.give(compute.ApplyLive, 1))
	t.Logf("one less in %s", time.Since(began))
	c.requires(1, 2)

	// With processors taken away QEMU would crash at this.
	_, err := p.Volumes().Create(ctx, storage.Spec{Name: "data", Size: 16 * resource.MiB})
	require.NoError(t, err)
	t.Cleanup(func() {
		v, err := p.Volumes().Get(context.Background(), "data")
		require.NoError(t, err)
		require.NoError(t, v.Delete(context.Background(), storage.DeleteOptions{}))
	})
	require.NoError(t, compute.AttachVolume(ctx, c.inst, compute.Mount{Type: compute.MountVolume, Source: "data", Path: "/data"}))
	require.NoError(t, compute.DetachVolume(ctx, c.inst, "/data"))
	require.NoError(t, c.give(compute.ApplyAuto, 3))
	c.requires(3, 3)
	require.NoError(t, compute.AttachVolume(ctx, c.inst, compute.Mount{Type: compute.MountVolume, Source: "data", Path: "/data"}))
	require.NoError(t, compute.DetachVolume(ctx, c.inst, "/data"))

	c.refuses(9)
	require.ErrorIs(t, c.give(compute.ApplyLive, 1.5), errdefs.ErrInvalidArgument)
	require.ErrorIs(t, c.give(compute.ApplyLive, -1), errdefs.ErrInvalidArgument)
	require.ErrorIs(t, c.give(compute.ApplyLive, 513), errdefs.ErrInvalidArgument)
	c.requires(3, 3)
	require.NoError(t, c.give(compute.ApplyAuto, 9))
	c.requires(3, 3, "resources.cpus")
	require.NoError(t, c.give(compute.ApplyNextStart, 2))
	c.requires(3, 3, "resources.cpus")
	require.NoError(t, c.give(compute.ApplyLive, 2))
	c.requires(2, 3)

	// What waits for a guest that is paused.
	require.NoError(t, c.inst.Pause(ctx))
	c.refuses(1)
	require.NoError(t, c.give(compute.ApplyAuto, 1))
	require.Equal(t, []string{"resources.cpus"}, c.info().Pending)
	require.NoError(t, c.inst.Resume(ctx))
	c.requires(2, 3, "resources.cpus")
	// None is the default, which is one.
	require.NoError(t, c.give(compute.ApplyAuto, 0))
	require.EqualValues(t, 1, c.info().Spec.Resources.CPUs)
	c.requires(1, 3)

	// A guest that boots anew uses all there are, whoever had it boot.
	require.NoError(t, c.inst.Reset(ctx))
	require.Equal(t, []string{"resources.cpus"}, c.info().Pending)
	c.answers()
	c.requires(3, 3, "resources.cpus")
	require.NoError(t, c.give(compute.ApplyLive, 1))
	c.requires(1, 3)
	_, err = compute.Exec(ctx, c.inst, compute.ExecSpec{Process: compute.Process{Command: []string{"/bin/sh", "-c", "echo b >/proc/sysrq-trigger"}}})
	t.Log(err)
	require.Eventually(t, func() bool { return len(c.info().Pending) > 0 }, 10*time.Second, 10*time.Millisecond)
	c.answers()
	c.requires(3, 3, "resources.cpus")

	// The next start has what the spec says.
	require.NoError(t, c.inst.Stop(ctx, compute.StopOptions{}))
	require.Empty(t, c.info().Pending)
	require.NoError(t, c.inst.Start(ctx, compute.StartOptions{}))
	c.answers()
	c.requires(1, 1)
}
