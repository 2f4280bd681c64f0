package keeper_test

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/internal/keeper"
	"github.com/univirt/univirt/internal/logfile"
)

func TestLogURI(t *testing.T) {
	all := keeper.LogOptions{Dir: "/var/lib/a b&c=d?e#f%20+", Run: "r-1", MaxSize: 1 << 20, MaxFiles: 3, Terminal: true}
	text, err := keeper.LogURI("/opt/x y?/keeper", all)
	require.NoError(t, err)
	uri, err := url.Parse(text)
	require.NoError(t, err)
	assert.Equal(t, "binary", uri.Scheme)
	assert.Equal(t, "/opt/x y?/keeper", uri.Path)
	assert.Equal(t, url.Values{
		"role": {"log"}, "dir": {all.Dir}, "run": {"r-1"},
		"max-size": {"1048576"}, "max-files": {"3"}, "terminal": {"true"},
	}, uri.Query())

	text, err = keeper.LogURI("/keeper", keeper.LogOptions{Dir: "/logs", Run: "r"})
	require.NoError(t, err)
	assert.Equal(t, "binary:///keeper?dir=%2Flogs&role=log&run=r", text)
}

func TestLogURIRefuses(t *testing.T) {
	good := keeper.LogOptions{Dir: "/logs", Run: "r"}
	for name, c := range map[string]struct {
		path   string
		change func(*keeper.LogOptions)
	}{
		"relative path":     {path: "keeper"},
		"no path":           {path: ""},
		"unclean path":      {path: "/a/../keeper"},
		"control character": {path: "/keeper\n"},
		"relative dir":      {path: "/k", change: func(o *keeper.LogOptions) { o.Dir = "logs" }},
		"no dir":            {path: "/k", change: func(o *keeper.LogOptions) { o.Dir = "" }},
		"NUL in dir":        {path: "/k", change: func(o *keeper.LogOptions) { o.Dir = "/a\x00" }},
		"no run":            {path: "/k", change: func(o *keeper.LogOptions) { o.Run = "" }},
		"negative size":     {path: "/k", change: func(o *keeper.LogOptions) { o.MaxSize = -1 }},
		"negative files":    {path: "/k", change: func(o *keeper.LogOptions) { o.MaxFiles = -1 }},
	} {
		t.Run(name, func(t *testing.T) {
			o := good
			if c.change != nil {
				c.change(&o)
			}
			_, err := keeper.LogURI(c.path, o)
			assert.Error(t, err)
		})
	}
	_, err := keeper.LogURI("/k", keeper.LogOptions{Dir: "/logs", Run: "../r"})
	assert.ErrorIs(t, err, logfile.ErrRun)
}

func TestLibvirtdCommand(t *testing.T) {
	o := keeper.LibvirtdOptions{Dir: "/a b", Libvirtd: "/sbin/libvirtd", Virtlogd: "/sbin/virtlogd"}
	argv, err := keeper.LibvirtdCommand("/keeper", o)
	require.NoError(t, err)
	plain := []string{"/keeper", "role", "libvirtd", "dir", "/a b", "libvirtd", "/sbin/libvirtd", "virtlogd", "/sbin/virtlogd"}
	assert.Equal(t, plain, argv)

	o.HideKVM, o.PrivateNetwork = true, true
	argv, err = keeper.LibvirtdCommand("/keeper", o)
	require.NoError(t, err)
	assert.Equal(t, append(plain, "hide-kvm", "true", "network", "private"), argv)

	for _, o := range []keeper.LibvirtdOptions{
		{Dir: "a", Libvirtd: "/l", Virtlogd: "/v"},
		{Dir: "/a", Libvirtd: "libvirtd", Virtlogd: "/v"},
		{Dir: "/a", Libvirtd: "/l"},
	} {
		_, err := keeper.LibvirtdCommand("/keeper", o)
		assert.Error(t, err, "%+v", o)
	}
}

func TestKVMCommand(t *testing.T) {
	assert.Equal(t, []string{"/k", "role", "kvm"}, keeper.KVMCommand("/k", keeper.KVMOptions{}))
	assert.Equal(t, []string{"/k", "role", "kvm", "uid", "1", "gid", "2", "groups", "3,4"},
		keeper.KVMCommand("/k", keeper.KVMOptions{UID: "1", GID: "2", Groups: []string{"3", "4"}}))
}
