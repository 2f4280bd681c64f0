//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"testing"

	"github.com/stretchr/testify/require"
	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/compute"
)

// TestASupervisorThatIsKilledIsFollowedByAnother has a process supervise, and this one
// wait for its turn.
func TestASupervisorThatIsKilledIsFollowedByAnother(t *testing.T) {
	ctx := t.Context()
	holder := ownDaemon(t)
	m := &morgue{p: openVictims(t, holder)}
	raw, err := lv.NewConnect(holder.opts.URI)
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = raw.Close() })
	t.Setenv(victimSupervise, "yes")
	process := m.process(t, "start instance", "")
	t.Cleanup(func() { process.kill(); _ = process.cmd.Wait() })
	heir, err := New(ctx, Options{Managed: holder.opts.Managed, Namespace: victims, Supervise: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, heir.Close()) })

	spec := machine(theName)
	spec.Restart = atOnceAlways
	inst, err := m.p.Instances().Create(ctx, spec)
	require.NoError(t, err)
	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
	runs := func(n int) func(compute.Info) bool {
		return func(i compute.Info) bool { return i.Runs == n && i.State == compute.Running && i.Supervised }
	}
	require.NoError(t, endDomain(raw, inst.ID()))
	await(t, inst, "restarted by the process", runs(2))
	process.kill()
	require.NoError(t, endDomain(raw, inst.ID()))
	await(t, inst, "restarted by this one", runs(3))
	d, err := m.p.read(ctx, inst.ID())
	require.NoError(t, err)
	require.Equal(t, 2, d.facts.run.Restarts, "the row goes on")
	require.NoError(t, inst.Delete(ctx, compute.DeleteOptions{Force: true}))
}
