//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
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
	return c.inst.Update(c.Context(), c.change(apply, n))
}

func (c cpus) change(apply compute.ApplyMode, n float64) compute.Change {
	r := c.info().Spec.Resources
	r.CPUs = n
	return compute.Change{Resources: &r, Apply: apply}
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
	// A guest of several emulated processors was seen to stop while it booted, once: one of
	// them slept with its timer's interrupt in service (QEMU 7.2).
	bounded, cancel := context.WithTimeout(c.Context(), 2*time.Minute)
	defer cancel()
	_, err := compute.WaitFor(bounded, c.inst, compute.LevelAgent)
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
	t.Parallel()
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

// TestProcessorsComeBackWithAMachinesMemory holds that what is kept of a run knows how
// many processors it had, and how many its guest used.
func TestProcessorsComeBackWithAMachinesMemory(t *testing.T) {
	t.Parallel()
	p := open(t, "cpus-kept")
	ctx := t.Context()
	s := newScratch(t, p)
	inst, err := p.Instances().Create(ctx, s.disk(machine("web")))
	require.NoError(t, err)
	defer func() { require.NoError(t, inst.Delete(ctx, compute.DeleteOptions{Force: true})) }()
	c := cpus{t, p, inst.(*instance)}
	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
	c.answers()
	require.NoError(t, c.give(compute.ApplyLive, 3))
	require.NoError(t, c.give(compute.ApplyLive, 2))
	c.requires(2, 3)
	snapshots, err := compute.Snapshots(inst)
	require.NoError(t, err)
	_, err = snapshots.CreateSnapshot(ctx, compute.SnapshotSpec{Name: "kept", Memory: true})
	require.NoError(t, err)
	require.NoError(t, c.give(compute.ApplyLive, 4))
	for _, n := range []int{4, 3} {
		require.NoError(t, c.give(compute.ApplyLive, float64(n)))
		require.NoError(t, c.inst.Suspend(ctx, compute.SuspendOptions{}))
		require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
		c.answers()
		c.requires(n, 4)
	}
	require.NoError(t, snapshots.RevertSnapshot(ctx, "kept", compute.RevertOptions{Force: true}))
	c.answers()
	c.requires(2, 3, "resources.cpus")
	require.NoError(t, c.give(compute.ApplyLive, 4))
	c.requires(4, 4)
	require.NoError(t, inst.Stop(ctx, compute.StopOptions{Force: true}))
	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
	c.answers()
	c.requires(4, 4)
}

func TestAGuestThatDoesNotAnswerKeepsItsProcessors(t *testing.T) {
	p := open(t, "cpus-mute")
	c := cpus{t, p, booted(t, p, "web")}
	ctx := t.Context()
	require.NoError(t, c.give(compute.ApplyLive, 2))
	_, err := compute.Output(ctx, c.inst, "/bin/sh", "-c", "(sleep 1; kill -STOP $(pidof qemu-ga)) <&- >&- 2>&- &")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := c.inst.Guest(short)
		return err != nil
	}, 30*time.Second, 100*time.Millisecond, "the agent hangs")
	before := c.info()
	for _, n := range []float64{1, 3} {
		short, cancel := context.WithTimeout(ctx, time.Second)
		change, began := c.change(compute.ApplyLive, n), time.Now()
		require.ErrorIs(t, c.inst.Update(short, change), context.DeadlineExceeded)
		require.Less(t, time.Since(began), 3*time.Second)
		cancel()
		require.Equal(t, before, c.info())
		began = time.Now()
		c.refuses(n)
		t.Logf("refused in %s", time.Since(began))
	}
	require.Equal(t, 2, c.has())
	require.NoError(t, c.give(compute.ApplyAuto, 3))
	require.Equal(t, []string{"resources.cpus"}, c.info().Pending)
	require.Equal(t, 2, c.has())
}

// TestProcessorsRunWhereTheMachineIsPinned holds that new processors do as well.
func TestProcessorsRunWhereTheMachineIsPinned(t *testing.T) {
	p := open(t, "cpus-pinned")
	c := cpus{t, p, booted(t, p, "web")}
	set := func(to string) {
		r := c.info().Spec.Resources
		r.CPUSet = to
		require.NoError(t, c.inst.Update(t.Context(), compute.Change{Resources: &r, Apply: compute.ApplyLive}))
	}
	pins := func() (all []string) {
		d, err := Domain(t.Context(), c.inst)
		require.NoError(t, err)
		defer d.Free()
		live, err := describedDomain(d, 0)
		require.NoError(t, err)
		if live.CPUTune != nil {
			for _, pin := range live.CPUTune.VCPUPin {
				all = append(all, pin.CPUSet)
			}
		}
		return all
	}
	set("0")
	require.NoError(t, c.give(compute.ApplyLive, 3))
	require.Equal(t, []string{"0", "0", "0"}, pins())
	set("")
	require.NoError(t, c.give(compute.ApplyLive, 4))
	require.NotContains(t, pins(), "0")
	c.requires(4, 4)
}

// TestUpdatesOfProcessorsAtOnce holds that of changes at the same time, also of two
// values, the last is what the guest has.
func TestUpdatesOfProcessorsAtOnce(t *testing.T) {
	p := open(t, "cpus-rivals")
	c := cpus{t, p, booted(t, p, "web")}
	other := open(t, "cpus-rivals").Instances().Handle(c.inst.ID())
	var all sync.WaitGroup
	for n, inst := range []compute.Instance{c.inst, other, c.inst, other} {
		change := c.change(compute.ApplyLive, float64(n%3+1))
		all.Go(func() { assert.NoError(t, inst.Update(t.Context(), change)) })
	}
	all.Wait()
	c.requires(int(c.info().Spec.Resources.CPUs), c.has())
}

// TestADaemonThatIsKilledWhileProcessorsCome holds that the same change once more does
// what is left to do.
func TestADaemonThatIsKilledWhileProcessorsCome(t *testing.T) {
	p := ownDaemon(t)
	c := cpus{t, p, booted(t, p, "web")}
	for n, delay := range []time.Duration{0, 50 * time.Millisecond, 300 * time.Millisecond} {
		want := n + 2
		change, done := c.change(compute.ApplyLive, float64(want)), make(chan error, 1)
		go func() { done <- c.inst.Update(t.Context(), change) }()
		time.Sleep(delay) // whatever it is in the middle of
		require.NoError(t, syscall.Kill(libvirtdOf(t, p), syscall.SIGKILL))
		t.Log(<-done)
		require.Eventually(t, func() bool {
			_, err := c.inst.Info(t.Context())
			return err == nil
		}, 30*time.Second, 50*time.Millisecond)
		c.answers()
		require.NoError(t, c.give(compute.ApplyLive, float64(want)))
		c.requires(want, want)
	}
}

// TestProcessorsOfOtherMachines holds that those of another type, and with another
// firmware, take processors too.
func TestProcessorsOfOtherMachines(t *testing.T) {
	p := open(t, "cpus-others")
	for name, boot := range map[string]compute.Boot{
		"pc":   {Machine: "pc", Kernel: common.guest.Kernel},
		"uefi": {Firmware: compute.FirmwareUEFI, Kernel: common.guest.CompressedKernel},
	} {
		t.Run(name, func(t *testing.T) {
			spec := machine(name)
			spec.Boot.Machine, spec.Boot.Firmware, spec.Boot.Kernel = boot.Machine, boot.Firmware, boot.Kernel
			spec.Resources.CPUs = 2
			inst, err := p.Instances().Create(t.Context(), spec)
			require.NoError(t, err)
			defer func() {
				assert.NoError(t, inst.Delete(context.Background(), compute.DeleteOptions{Force: true}))
			}()
			require.NoError(t, inst.Start(t.Context(), compute.StartOptions{}))
			c := cpus{t, p, inst.(*instance)}
			c.answers()
			require.NoError(t, c.give(compute.ApplyLive, 4))
			c.requires(4, 4)
			require.NoError(t, c.give(compute.ApplyLive, 1))
			c.requires(1, 4)
		})
	}
}
