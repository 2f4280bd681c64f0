package network_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

var addr = netip.MustParseAddr

func TestParsePort(t *testing.T) {
	for text, c := range map[string]struct {
		want      network.Port
		canonical string
	}{
		"80":      {network.Port{Protocol: network.TCP, Instance: 80}, "80"},
		"80/tcp":  {network.Port{Protocol: network.TCP, Instance: 80}, "80"},
		"80/udp":  {network.Port{Protocol: network.UDP, Instance: 80}, "80/udp"},
		"65535":   {network.Port{Protocol: network.TCP, Instance: 65535}, "65535"},
		"0080":    {network.Port{Protocol: network.TCP, Instance: 80}, "80"},
		"8080:80": {network.Port{Protocol: network.TCP, Instance: 80, Publish: true, Host: 8080}, "8080:80"},
		"0:80":    {network.Port{Protocol: network.TCP, Instance: 80, Publish: true}, "0:80"},
		"192.0.2.1:8080:80/udp": {
			network.Port{Protocol: network.UDP, Instance: 80, Publish: true, Host: 8080, HostIP: addr("192.0.2.1")},
			"192.0.2.1:8080:80/udp",
		},
		"0.0.0.0:0:80": {
			network.Port{Protocol: network.TCP, Instance: 80, Publish: true, HostIP: addr("0.0.0.0")}, "0.0.0.0:0:80",
		},
		"[2001:db8::1]:8080:80": {
			network.Port{Protocol: network.TCP, Instance: 80, Publish: true, Host: 8080, HostIP: addr("2001:db8::1")},
			"[2001:db8::1]:8080:80",
		},
		"[2001:DB8:0::1]:8080:80": {
			network.Port{Protocol: network.TCP, Instance: 80, Publish: true, Host: 8080, HostIP: addr("2001:db8::1")},
			"[2001:db8::1]:8080:80",
		},
		"[::]:0:80": {network.Port{Protocol: network.TCP, Instance: 80, Publish: true, HostIP: addr("::")}, "[::]:0:80"},
	} {
		got, err := network.ParsePort(text)
		require.NoError(t, err, text)
		assert.Equal(t, c.want, got, text)
		assert.Equal(t, c.canonical, got.String(), text)
		assert.Empty(t, got.Validate(), text)
	}
}

func TestParsePortRefuses(t *testing.T) {
	for text, reason := range map[string]string{
		"":                           "the instance's port must be from 1 to 65535",
		"0":                          "the instance's port must be from 1 to 65535",
		"65536":                      "the instance's port must be from 1 to 65535",
		"-1":                         "the instance's port must be from 1 to 65535",
		"+80":                        "the instance's port must be from 1 to 65535",
		" 80":                        "the instance's port must be from 1 to 65535",
		"80 ":                        "the instance's port must be from 1 to 65535",
		"8_0":                        "the instance's port must be from 1 to 65535",
		"0x50":                       "the instance's port must be from 1 to 65535",
		"http":                       "the instance's port must be from 1 to 65535",
		"80\x00":                     "the instance's port must be from 1 to 65535",
		"٨٠":                         "the instance's port must be from 1 to 65535",
		"80-90":                      "the instance's port must be from 1 to 65535",
		"8080:":                      "the instance's port must be from 1 to 65535",
		"8080:0":                     "the instance's port must be from 1 to 65535",
		"999999999999999999999999":   "the instance's port must be from 1 to 65535",
		strings.Repeat("9", 1<<20):   "the instance's port must be from 1 to 65535",
		":80":                        "the host's port must be from 0 to 65535",
		"65536:80":                   "the host's port must be from 0 to 65535",
		"http:80":                    "the host's port must be from 0 to 65535",
		"192.0.2.1::80":              "the host's port must be from 0 to 65535",
		"80/":                        "the protocol must be tcp or udp",
		"80/TCP":                     "the protocol must be tcp or udp",
		"80/sctp":                    "the protocol must be tcp or udp",
		"80/tcp/udp":                 "the protocol must be tcp or udp",
		"1:2:3":                      "must begin with an IPv4 address",
		"host:8080:80":               "must begin with an IPv4 address",
		"192.0.2.256:8080:80":        "must begin with an IPv4 address",
		"224.0.0.1:8080:80":          "must begin with an IPv4 address",
		"2001:db8::1:8080:80":        "must be [[address:]host:]instance[/protocol]",
		"192.0.2.1:8080:80:90":       "must be [[address:]host:]instance[/protocol]",
		"[::1]:80":                   "must name a host port and an instance port",
		"[::1]80:80":                 "must begin with an IPv6 address in brackets and a colon",
		"[::1:8080:80":               "must begin with an IPv6 address in brackets and a colon",
		"[]:8080:80":                 "must begin with an IPv6 address in brackets and a colon",
		"[192.0.2.1]:8080:80":        "must begin with an IPv6 address in brackets and a colon",
		"[fe80::1%eth0]:8080:80":     "must begin with an IPv6 address in brackets and a colon",
		"[ff02::1]:8080:80":          "must begin with an IPv6 address in brackets and a colon",
		"[::ffff:192.0.2.1]:8080:80": "must begin with an IPv6 address in brackets and a colon",
		"[::1]:192.0.2.1:8080:80":    "must be [[address:]host:]instance[/protocol]",
	} {
		got, err := network.ParsePort(text)
		require.Error(t, err, "%.80q", text)
		assert.Zero(t, got)
		assert.True(t, errdefs.IsInvalidArgument(err))
		faults := resource.FaultsOf(err)
		require.Len(t, faults, 1)
		assert.Equal(t, "port", faults[0].Field)
		assert.Equal(t, reason+": "+resource.Quote(text), faults[0].Reason)
		assert.Less(t, len(err.Error()), 300)
	}
}

func TestPortValidate(t *testing.T) {
	for _, good := range []network.Port{
		{Instance: 80},
		{Instance: 80, Name: "http", Protocol: network.TCP},
		{Instance: 53, Name: "dns-1", Protocol: network.UDP, Publish: true, Host: 53, HostIP: addr("::1")},
		{Instance: 80, Publish: true, HostIP: addr("0.0.0.0")},
	} {
		assert.Empty(t, good.Validate(), "%v", good)
	}
	assert.Equal(t, resource.Faults{
		{Field: "name", Reason: `must consist of a-z, 0-9 and '-', has "H"`},
		{Field: "protocol", Reason: `must be "tcp" or "udp"`},
		{Field: "instance", Reason: "must be from 1 to 65535"},
		{Field: "hostIP", Reason: "needs publish"},
		{Field: "host", Reason: "needs publish"},
		{Field: "hostIP", Reason: "must be a unicast address, without a zone and not IPv4-mapped"},
	}, network.Port{Name: "HTTP", Protocol: "sctp\n", HostIP: addr("ff02::1"), Host: 1}.Validate(), "all at once")
	for _, bad := range []string{"fe80::1%eth0", "224.0.0.1", "::ffff:192.0.2.1"} {
		assert.Len(t, network.Port{Instance: 80, Publish: true, HostIP: addr(bad)}.Validate(), 1, bad)
	}
	assert.Equal(t, resource.Faults{{Field: "name", Reason: "must not be a number"}}, network.Port{Instance: 80, Name: "8080"}.Validate())
}

func TestValidatePorts(t *testing.T) {
	published := func(ip string, host uint16) network.Port {
		p := network.Port{Instance: 80, Publish: true, Host: host}
		if ip != "" {
			p.HostIP = addr(ip)
		}
		return p
	}
	for _, c := range []struct {
		a, b  network.Port
		clash bool
	}{
		{published("", 80), published("", 80), true},
		{published("", 80), published("", 81), false},
		{published("", 0), published("", 0), false},
		{published("", 80), published("127.0.0.1", 80), true},
		{published("", 80), published("::1", 80), true},
		{published("", 80), published("0.0.0.0", 80), true},
		{published("", 80), published("::", 80), true},
		{published("", 80), published("192.0.2.1", 80), false},
		{published("192.0.2.1", 80), published("192.0.2.1", 80), true},
		{published("192.0.2.1", 80), published("192.0.2.2", 80), false},
		{published("192.0.2.1", 80), published("0.0.0.0", 80), true},
		{published("192.0.2.1", 80), published("::", 80), false},
		{published("2001:db8::1", 80), published("::", 80), true},
		{published("2001:db8::1", 80), published("0.0.0.0", 80), false},
		{published("0.0.0.0", 80), published("::", 80), false},
		{published("127.0.0.1", 80), published("::1", 80), false},
	} {
		udp := c.b
		udp.Protocol = network.UDP
		for _, ports := range [][]network.Port{{c.a, c.b}, {c.b, c.a}} {
			var want resource.Faults
			if c.clash {
				want = resource.Faults{{Field: "[1].host", Reason: "is that of [0] too"}}
			}
			assert.Equal(t, want, network.ValidatePorts(ports), "%v", ports)
		}
		assert.Empty(t, network.ValidatePorts([]network.Port{c.a, udp}), "protocols do not meet")
	}
	assert.Equal(t, resource.Faults{
		{Field: "[1].instance", Reason: "must be from 1 to 65535"},
		{Field: "[1].name", Reason: "is that of [0] too"},
		{Field: "[3].name", Reason: "is that of [0] too"},
	}, network.ValidatePorts([]network.Port{
		{Name: "http", Instance: 80}, {Name: "http"}, {Instance: 80}, {Name: "http", Instance: 80},
	}))
	assert.Empty(t, network.ValidatePorts(nil))
}

func TestValidatePortsOfManyPorts(t *testing.T) {
	ports := make([]network.Port, 65535)
	for i := range ports {
		ports[i] = network.Port{Name: fmt.Sprintf("p%d", i), Instance: uint16(i + 1), Publish: true, Host: uint16(i + 1)}
	}
	assert.Empty(t, network.ValidatePorts(ports))
}

func TestPortJSON(t *testing.T) {
	for _, p := range []network.Port{
		{Instance: 80}, {Name: "http", Instance: 80, Protocol: network.TCP, Publish: true, HostIP: addr("::1"), Host: 8080},
	} {
		data, err := json.Marshal(p)
		require.NoError(t, err)
		var back network.Port
		require.NoError(t, json.Unmarshal(data, &back))
		assert.Equal(t, p, back)
	}
	assert.Error(t, json.Unmarshal([]byte(`{"instance":65536}`), new(network.Port)))
	assert.Error(t, json.Unmarshal([]byte(`{"instance":-1}`), new(network.Port)))
}

func FuzzParsePort(f *testing.F) {
	for _, seed := range []string{
		"80", "80/udp", "8080:80", "0:80", "192.0.2.1:8080:80", "[2001:db8::1]:8080:80/tcp", "[::ffff:1.2.3.4]:1:2", "[fe80::1%a]:1:2",
		":", "::", "[]", "1:2:3:4", "/udp", "0.0.0.0:0:1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		port, err := network.ParsePort(text)
		if err != nil {
			assert.True(t, errdefs.IsInvalidArgument(err))
			return
		}
		assert.Empty(t, port.Validate())
		again, err := network.ParsePort(port.String())
		require.NoError(t, err)
		assert.Equal(t, port, again)
	})
}
