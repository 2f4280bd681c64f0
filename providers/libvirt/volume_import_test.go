//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"bytes"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// hiccup is a line of which one call fails: that after so many; none where those are
// fewer than 0.
type hiccup struct{ left atomic.Int64 }

func (h *hiccup) do(call func()) (answered bool) {
	if h.left.Add(-1) == -1 {
		return false
	}
	call()
	return true
}

// TestAnImportOfWhichACallFailsLeavesAVolume has each call of an import of a disk that is
// made by way of another file fail in turn: the volume is as it was, empty, or has what
// was imported, and can be used.
func TestAnImportOfWhichACallFailsLeavesAVolume(t *testing.T) {
	shared := startShared(t)
	line := new(hiccup)
	line.left.Store(-1)
	p, err := newProvider(t.Context(), Options{Managed: shared.opts.Managed, Namespace: "hiccup"}, line)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	ctx := t.Context()
	fill := func(v storage.Volume, content string) error {
		return storage.Import(ctx, v, strings.NewReader(content), storage.TransferOptions{Format: storage.Raw})
	}
	for n := int64(0); ; n++ {
		v := makeVolume(t, p, storage.Spec{Name: "disk", Mode: storage.Block, Size: resource.MiB, Format: "qcow2"})
		require.NoError(t, fill(v, "before"))
		line.left.Store(n)
		err := fill(v, "behind")
		over := line.left.Load() >= 0
		line.left.Store(-1)
		var out bytes.Buffer
		require.NoError(t, storage.Export(ctx, v, &out, storage.TransferOptions{Format: storage.Raw}), "after call %d, of which came: %v", n, err)
		require.Contains(t, []string{"before", "behind", "\x00\x00\x00\x00\x00\x00"}, out.String()[:6], "after call %d", n)
		require.NoError(t, v.Delete(ctx, storage.DeleteOptions{}))
		require.Empty(t, volumeFiles(t, p, v.ID()), "after call %d", n)
		if over {
			require.NoError(t, err)
			return
		}
	}
}
