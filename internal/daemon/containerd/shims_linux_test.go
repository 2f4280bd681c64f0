package containerd

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestShimOf(t *testing.T) {
	const address = "/run/a/containerd.sock"
	for name, tt := range map[string]struct {
		argv []string
		want bool
	}{
		"runc":              {[]string{"/usr/bin/containerd-shim-runc-v2", "-namespace", "x", "-id", "y", "-address", address}, true},
		"kata":              {[]string{"containerd-shim-kata-v2", "-address", address, "-id", "y"}, true},
		"starting another":  {[]string{"/usr/bin/containerd-shim-runc-v2", "-address", address, "start"}, true},
		"another daemon's":  {[]string{"/usr/bin/containerd-shim-runc-v2", "-address", address + "2"}, false},
		"id like an option": {[]string{"/usr/bin/containerd-shim-runc-v2", "-id", address, "-address", "/x"}, false},
		"no value":          {[]string{"/usr/bin/containerd-shim-runc-v2", "-address"}, false},
		"no option":         {[]string{"/usr/bin/containerd-shim-runc-v2", address}, false},
		"a client":          {[]string{"ctr", "-address", address}, false},
		"an editor":         {[]string{"vi", "containerd-shim-runc-v2", "-address", address}, false},
		"nothing":           {[]string{""}, false},
	} {
		assert.Equal(t, tt.want, shimOf(tt.argv, address), name)
	}
}

func FuzzShimOf(f *testing.F) {
	f.Add("containerd-shim-runc-v2", "-address", "/a")
	f.Add("", "", "")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if shimOf([]string{a, b, c}, "/a") {
			assert.Equal(t, []string{"-address", "/a"}, []string{b, c})
		}
	})
}

func TestShimSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	defer listener.Close()
	precious := filepath.Join(t.TempDir(), "thesis.txt")
	require.NoError(t, os.WriteFile(precious, nil, 0o600))
	for name, tt := range map[string]struct {
		file, text string
		want       string
	}{
		"1.6":                  {"address", "unix://" + socket, socket},
		"2.x":                  {"bootstrap.json", `{"version":3,"address":"unix://` + socket + `","protocol":"ttrpc"}`, socket},
		"not a socket":         {"address", "unix://" + precious, ""},
		"not a unix socket":    {"address", "vsock://3:1", ""},
		"no scheme":            {"address", socket, ""},
		"gone":                 {"address", "unix://" + socket + "x", ""},
		"broken":               {"bootstrap.json", `{`, ""},
		"nothing noted at all": {"other", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, tt.file), []byte(tt.text), 0o600))
			assert.Equal(t, tt.want, shimSocket(dir))
		})
	}
}
