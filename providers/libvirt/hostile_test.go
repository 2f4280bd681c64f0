//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
)

func TestAnIDThatIsNoneNamesNoFile(t *testing.T) {
	outside := t.TempDir()
	p, err := New(t.Context(), Options{URI: "test:///default", StateDir: filepath.Join(outside, "state")})
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	victim := filepath.Join(outside, "x.lock")
	require.NoError(t, os.WriteFile(victim, []byte("kept"), 0o600))
	for _, id := range []string{"", "../x", "..", "/etc/passwd", "web"} {
		inst := p.Instances().Handle(id)
		for name, do := range map[string]func() error{
			"start":  func() error { return inst.Start(t.Context(), compute.StartOptions{}) },
			"update": func() error { return inst.Update(t.Context(), compute.Change{Labels: map[string]*string{"a": nil}}) },
			"delete": func() error { return inst.Delete(t.Context(), compute.DeleteOptions{Force: true}) },
		} {
			assert.ErrorIs(t, do(), errdefs.ErrNotFound, "%s of %q", name, id)
		}
	}
	assert.FileExists(t, victim)
	left, err := filepath.Glob(filepath.Join(outside, "state", "*.lock"))
	require.NoError(t, err)
	assert.Empty(t, left)
}
