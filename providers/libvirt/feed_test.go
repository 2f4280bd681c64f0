//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// TestARunThatIsReadLateIsNoOther reads an instance anew when its start has been told: a
// watch must not take the run for another than the one that it knows of.
func TestARunThatIsReadLateIsNoOther(t *testing.T) {
	p, err := New(t.Context(), Options{URI: "test:///default", StateDir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	spec := compute.Spec{Name: "web", Boot: &compute.Boot{Kernel: "/vmlinuz"}}
	inst, err := p.Instances().Create(t.Context(), spec)
	require.NoError(t, err)
	told := make(chan []string, 1)
	watching := make(chan struct{})
	go func() {
		var all []string
		for event, err := range p.Watch(t.Context(), resource.WatchOptions{Kinds: []resource.Kind{resource.KindInstance}}) {
			if err == nil && event.Type == resource.EventSynced {
				close(watching)
			}
			if event.Type == resource.EventChanged {
				all = append(all, event.State+" "+event.Reason)
			}
			if err != nil || event.Type == resource.EventDeleted {
				break
			}
		}
		told <- all
	}()
	<-watching
	require.NoError(t, inst.Start(t.Context(), compute.StartOptions{}))
	require.NoError(t, p.feed.reread(t.Context(), inst.ID()))
	require.NoError(t, inst.Delete(t.Context(), compute.DeleteOptions{Force: true}))
	require.Equal(t, []string{"running start", "stopped exit"}, <-told)
}
