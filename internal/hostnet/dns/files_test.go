package dns

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseResolver(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       Resolver
	}{
		{"empty", "", Resolver{}},
		{"all", "# comment\n; another\ndomain a\nnameserver 192.0.2.1\nnameserver\t2001:db8::1 # it\nsearch b c\noptions ndots:2\noptions edns0\n", Resolver{
			[]netip.Addr{addr("192.0.2.1"), addr("2001:db8::1")}, []string{"b", "c"}, []string{"ndots:2", "edns0"},
		}},
		{"a zone", "nameserver fe80::1%eth0\r\n", Resolver{Servers: []netip.Addr{addr("fe80::1%eth0")}}},
		{"mapped", "nameserver ::ffff:192.0.2.1", Resolver{Servers: []netip.Addr{addr("192.0.2.1")}}},
		{"nonsense", "nameserver\nnameserver x\nnameserver 224.0.0.1\nsearch\nbogus 1", Resolver{}},
	} {
		t.Run(c.name, func(t *testing.T) { assert.Equal(t, c.want, ParseResolver(c.text)) })
	}
}

func TestHostUpstreams(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	upstreams := HostUpstreams(path, []netip.Addr{addr("10.0.0.1")})
	assert.Empty(t, upstreams(), "there is no file")
	require.NoError(t, os.WriteFile(path, []byte("nameserver 10.0.0.1\nnameserver 192.0.2.1\n"), 0o600))
	assert.Equal(t, []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53")}, upstreams())
	require.NoError(t, os.WriteFile(path, []byte("nameserver 0.0.0.0\n"), 0o600))
	assert.Equal(t, []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")}, upstreams())
}

func TestFilesOfAnInstance(t *testing.T) {
	hosts, err := HostsText([]HostLine{{addr("10.0.0.2"), []string{"web", "web.lab"}}, {addr("fd00::2"), []string{"web"}}})
	require.NoError(t, err)
	assert.Equal(t, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"+
		"10.0.0.2\tweb web.lab\nfd00::2\tweb\n", string(hosts))
	text, err := Resolver{[]netip.Addr{addr("10.0.0.1")}, []string{"lab"}, []string{"ndots:0"}}.Text()
	require.NoError(t, err)
	assert.Equal(t, "nameserver 10.0.0.1\nsearch lab\noptions ndots:0\n", string(text))
	for _, word := range []string{"", "a b", "a\nnameserver 6.6.6.6", "#", "ü"} {
		_, err := HostsText([]HostLine{{addr("10.0.0.2"), []string{word}}})
		require.Error(t, err, "%q", word)
		_, err = Resolver{Search: []string{word}}.Text()
		require.Error(t, err, "%q", word)
	}
	_, err = HostsText([]HostLine{{Names: []string{"web"}}})
	require.Error(t, err)
}

func FuzzParseResolver(f *testing.F) {
	for _, text := range []string{"nameserver 192.0.2.1\nsearch a b\noptions ndots:1\n", "domain x", "nameserver fe80::1%a", "#\n;", "search \x00"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := ParseResolver(text)
		out, err := r.Text()
		if err != nil {
			return // a word that nobody may write
		}
		again := ParseResolver(string(out))
		if !assert.ObjectsAreEqual(r, again) {
			t.Fatalf("%+v became %+v by %q", r, again, out)
		}
	})
}
