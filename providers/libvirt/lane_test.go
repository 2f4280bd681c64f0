//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/filelock"
	"github.com/univirt/univirt/resource"
)

// TestChangesThatWaitForOthersTakeNoConnection holds that what waits for the locks of
// other processes leaves the connections to others.
func TestChangesThatWaitForOthersTakeNoConnection(t *testing.T) {
	p := open(t, "lanes")
	const waiting = atOnce + 1
	outcomes := make(chan error, 2*waiting)
	var locks []*filelock.Lock
	for range waiting {
		inst := p.handle(resource.NewID(), "")
		lock, err := filelock.Acquire(t.Context(), p.lockPath(inst.id), filelock.Exclusive)
		require.NoError(t, err)
		locks = append(locks, lock)
		go func() {
			_, err := inst.CreateSnapshot(t.Context(), compute.SnapshotSpec{Name: "one"})
			outcomes <- err
			outcomes <- inst.DeleteSnapshot(t.Context(), "one")
		}()
	}
	require.Eventually(t, func() bool { return !p.turns.Idle() }, time.Minute, time.Millisecond)
	for range 100 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		_, err := p.Instances().Get(ctx, resource.NewID())
		cancel()
		require.ErrorIs(t, err, errdefs.ErrNotFound)
	}
	require.Empty(t, outcomes)
	for _, lock := range locks {
		lock.Remove()
	}
	for range 2 * waiting {
		require.ErrorIs(t, <-outcomes, errdefs.ErrNotFound)
	}
}
