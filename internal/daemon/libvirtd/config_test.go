package libvirtd

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestSettings(t *testing.T) {
	for name, text := range settings(Config{User: "libvirt-qemu"}) {
		golden := filepath.Join("testdata", name)
		if *update {
			require.NoError(t, os.WriteFile(golden, []byte(text), 0o644))
		}
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		assert.Equal(t, string(want), text)
	}
	assert.NotContains(t, settings(Config{})["qemu.conf"], "user =", "libvirt's own choice")
}

func TestConfigCheck(t *testing.T) {
	long := "/" + strings.Repeat("x", 86)
	for name, tt := range map[string]struct {
		config Config
		kind   error
		says   string
	}{
		"as long as can be":     {config: Config{Dir: long}},
		"too long":              {Config{Dir: long + "x"}, errdefs.ErrInvalidArgument, "Dir is 1 bytes too long"},
		"in the way of itself":  {Config{Dir: "/var/lib/libvirt/private"}, errdefs.ErrInvalidArgument, "/var/lib/libvirt"},
		"the system's own":      {Config{Dir: "/etc/libvirt"}, errdefs.ErrInvalidArgument, "Dir"},
		"beside it":             {config: Config{Dir: "/var/lib/libvirt2"}},
		"user":                  {config: Config{Dir: "/a", User: "root"}},
		"user that is not":      {Config{Dir: "/a", User: "nobody-at-all"}, errdefs.ErrNotFound, "User"},
		"user that is no name":  {Config{Dir: "/a", User: "a\"\nb"}, errdefs.ErrInvalidArgument, "User"},
		"user that is a number": {Config{Dir: "/a", User: "+0"}, errdefs.ErrInvalidArgument, "User"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tt.config.check()
			if tt.kind == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, tt.kind)
			assert.ErrorContains(t, err, tt.says)
		})
	}
}

func TestInsideAndOutside(t *testing.T) {
	l := layout{dir: "/a"}
	for outside, inside := range map[string]string{
		"/a/lib":            "/var/lib/libvirt",
		"/a/lib/images/b":   "/var/lib/libvirt/images/b",
		"/a/run/s":          "/run/libvirt/s",
		"/a/library/images": "/a/library/images",
		"/a/bin/x":          "/a/bin/x",
		"/b/lib/images":     "/b/lib/images",
	} {
		assert.Equal(t, inside, l.inside(outside), outside)
		assert.Equal(t, outside, l.outside(inside), inside)
	}
}

func TestURI(t *testing.T) {
	assert.Equal(t, "qemu+unix:///system?socket=%2Fa+b%26c%2Frun%2Flibvirt-sock", layout{dir: "/a b&c"}.uri())
}
