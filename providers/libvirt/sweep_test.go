//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/filelock"
	"github.com/univirt/univirt/resource"
)

func inProcess(t *testing.T, namespace, state string) *Provider {
	t.Helper()
	p, err := New(t.Context(), Options{URI: "test:///default", Namespace: namespace, StateDir: state})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

func TestAHomeHasOneID(t *testing.T) {
	dir := t.TempDir()
	ids := make([]string, 16)
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() {
			id, err := homeOf(dir)
			assert.NoError(t, err)
			ids[i] = id
		})
	}
	all.Wait()
	for _, id := range ids {
		assert.Equal(t, ids[0], id)
		assert.True(t, resource.IsID(id))
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, left, 1)

	require.NoError(t, os.WriteFile(filepath.Join(dir, "home"), []byte("../x"), 0o600))
	_, err = New(t.Context(), Options{URI: "test:///default", StateDir: dir})
	require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
	var own *resource.Error
	require.ErrorAs(t, err, &own)
	assert.Equal(t, "stateDir", own.Field)
}

func TestSweepLeavesAloneWhatAnotherHostMade(t *testing.T) {
	here, there := inProcess(t, "homes", t.TempDir()), inProcess(t, "homes", t.TempDir())
	spec := compute.Spec{Name: "web", Boot: &compute.Boot{Kernel: "/vmlinuz"}, Lifetime: resource.Ephemeral}
	inst, err := there.Instances().Create(t.Context(), spec)
	require.NoError(t, err)
	report, err := here.Sweep(t.Context(), univirt.SweepOptions{})
	require.NoError(t, err)
	assert.Empty(t, report)
	report, err = here.Sweep(t.Context(), univirt.SweepOptions{All: true})
	require.NoError(t, err)
	assert.Equal(t, []resource.Ref{here.ref(resource.KindInstance, "web", inst.ID())}, report.Removed)
}

func TestSweepTakesLocksAndMarksOfTheDead(t *testing.T) {
	state := t.TempDir()
	p := inProcess(t, "locks", state)
	dead, living, generation := resource.NewID(), resource.NewID(), resource.NewID()
	for _, path := range []string{p.lockPath(dead), filepath.Join(state, "notes.lock"), filepath.Join(string(p.generations()), generation)} {
		require.NoError(t, os.WriteFile(path, nil, 0o600))
	}
	held, err := filelock.Acquire(t.Context(), p.lockPath(living), filelock.Exclusive)
	require.NoError(t, err)
	defer held.Remove()

	desc, err := p.Describe(t.Context())
	require.NoError(t, err)
	want := []resource.Ref{p.ref(kindLock, "", dead), p.ref(kindGeneration, "", generation)}
	assert.ElementsMatch(t, want, desc.Leftovers)
	report, err := p.Sweep(t.Context(), univirt.SweepOptions{Owner: "somebody"})
	require.NoError(t, err)
	assert.Empty(t, report, "they have no owner")
	report, err = p.Sweep(t.Context(), univirt.SweepOptions{})
	require.NoError(t, err)
	assert.Empty(t, report.Failed)
	assert.ElementsMatch(t, want, report.Removed)
	assert.FileExists(t, p.lockPath(living))
	assert.FileExists(t, filepath.Join(state, "notes.lock"))
	assert.True(t, p.generations().Alive(p.owner.Generation))
	require.ErrorIs(t, releaseDead(p.lockPath(living)), errdefs.ErrNotFound)
	require.ErrorIs(t, releaseDead(p.lockPath(dead)), errdefs.ErrNotFound)
}
