//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/network"
)

// TestRemoveOfAFolderInUse holds that a removal that is refused does not keep a later
// one from ending all that runs of the folder.
func TestRemoveOfAFolderInUse(t *testing.T) {
	startShared(t) // skips where there is none
	root, err := os.MkdirTemp("", "univirt-lv-")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(root)) })
	dir := filepath.Join(root, "d")
	p, err := New(t.Context(), Options{Managed: &Managed{Dir: dir, PrivateNetwork: true}})
	require.NoError(t, err)
	status, _ := p.daemon.Status()
	n, err := p.Networks().Create(t.Context(), network.Spec{Name: "lan"})
	require.NoError(t, err)
	require.ErrorIs(t, Remove(t.Context(), dir), errdefs.ErrFailedPrecondition)
	require.NoError(t, n.(*networkHandle).networks().onNetwork(t.Context(), n.ID(), func(n *lv.Network) error {
		active, err := n.IsActive()
		assert.True(t, active, "what is refused changes nothing")
		return err
	}))
	require.NoError(t, p.Close())
	require.NoError(t, Remove(t.Context(), dir))
	assert.NoDirExists(t, dir)
	assert.NoDirExists(t, "/proc/"+strconv.Itoa(status.PID))
}
