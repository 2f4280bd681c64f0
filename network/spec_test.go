package network_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

var cidr = netip.MustParsePrefix

// full is a spec in which every field is set.
func full() network.Spec {
	return network.Spec{
		Name: "backend",
		Subnets: []network.Subnet{
			{CIDR: cidr("10.1.0.0/24"), Gateway: addr("10.1.0.1"), First: addr("10.1.0.10"), Last: addr("10.1.0.20"), DHCP: true},
			{CIDR: cidr("fd00:1::/64"), Gateway: addr("fd00:1::1"), First: addr("fd00:1::10"), Last: addr("fd00:1::20")},
		},
		External: network.Bridged,
		Bridge:   "br0",
		Domain:   "backend.example.com",
		DNS: network.DNS{
			Disabled: true,
			Upstream: []netip.Addr{addr("192.0.2.53"), addr("2001:db8::53")},
			Hosts:    map[string][]netip.Addr{"db": {addr("10.1.0.5")}, "db.example.com": {addr("10.1.0.5"), addr("fd00:1::5")}},
		},
		MTU:         1400,
		Lifetime:    resource.Until(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)),
		Labels:      resource.Labels{"tier": "backend"},
		Annotations: resource.Annotations{"note": "any text"},
	}
}

func TestFullSpecSetsEveryField(t *testing.T) {
	set := map[string]bool{}
	for _, path := range resource.SetFields(full()) {
		set[strings.NewReplacer("[0]", "[]", "[1]", "[]").Replace(path)] = true
	}
	for _, path := range resource.FieldPaths(network.Spec{}) {
		if path != "lifetime.ephemeral" { // excludes until
			assert.True(t, set[path], "%s is missing in the full spec", path)
		}
	}
}

func TestSpecValidateAccepts(t *testing.T) {
	for _, spec := range []network.Spec{
		full(),
		{Name: "a"},
		{Name: "a", External: network.Isolated},
		{Name: "a", External: network.NAT, Subnets: []network.Subnet{{CIDR: cidr("192.168.1.0/30")}, {CIDR: cidr("fd00::/126")}}},
		{Name: "a", External: network.Routed, MTU: 576},
		{Name: "a", MTU: 65535},
		{Name: "a", Subnets: []network.Subnet{{CIDR: cidr("10.0.0.0/24")}, {CIDR: cidr("10.0.1.0/24")}}},
	} {
		assert.Empty(t, spec.Validate())
	}
}

func TestSubnetValidateOfGateways(t *testing.T) {
	for gateway, ok := range map[string]bool{
		"10.3.0.0": false, "10.3.0.1": true, "10.3.0.254": true, "10.3.0.255": false,
		"fd01::": false, "fd01::1": true, "fd01::ffff:ffff:ffff:ffff": true,
	} {
		s := network.Subnet{CIDR: cidr("10.3.0.0/24"), Gateway: addr(gateway)}
		if s.Gateway.Is6() {
			s.CIDR = cidr("fd01::/64")
		}
		assert.Equal(t, ok, len(s.Validate()) == 0, gateway)
	}
}

func TestSpecValidateFindsAllFaultsAtOnce(t *testing.T) {
	spec := network.Spec{
		Name: "Back\nend",
		Subnets: []network.Subnet{
			{},
			{CIDR: netip.MustParsePrefix("10.1.0.1/24"), Gateway: addr("10.2.0.1"), First: addr("10.1.0.9"), Last: addr("10.1.0.8")},
			{CIDR: cidr("10.1.0.128/25")},
			{CIDR: cidr("::ffff:10.0.0.0/104")},
			{CIDR: cidr("10.9.9.8/31")},
			{CIDR: cidr("0.0.0.0/0")},
			{CIDR: cidr("127.0.0.0/8")},
			{CIDR: cidr("ff02::/16")},
			{CIDR: cidr("fd00::/64"), Gateway: addr("fd00::1%eth0")},
		},
		External: "internet",
		Bridge:   "br 0",
		Domain:   "a..b",
		DNS: network.DNS{
			Upstream: []netip.Addr{{}, addr("0.0.0.0"), addr("192.0.2.1"), addr("224.0.0.1")},
			Hosts: map[string][]netip.Addr{
				"a\n": {addr("10.0.0.1")}, "none": nil, "zero": {{}}, "zone": {addr("10.0.0.1"), addr("fe80::1%eth0")},
			},
		},
		MTU:         575,
		Lifetime:    resource.Lifetime{Ephemeral: true, Until: time.Unix(1, 0)},
		Labels:      resource.Labels{"univirt.io/x": "1"},
		Annotations: resource.Annotations{"": ""},
	}
	want := resource.Faults{
		{Field: "name", Reason: `must consist of a-z, 0-9 and '-', has "B"`},
		{Field: "subnets[0].cidr", Reason: "is required"},
		{Field: "subnets[1].cidr", Reason: "has host bits set; did you mean 10.1.0.0/24"},
		{Field: "subnets[1].gateway", Reason: "must lie in 10.1.0.1/24"},
		{Field: "subnets[1].last", Reason: "must not be below first"},
		{Field: "subnets[2].cidr", Reason: "overlaps 10.1.0.1/24"},
		{Field: "subnets[3].cidr", Reason: "must not be an IPv4-mapped IPv6 range"},
		{Field: "subnets[4].cidr", Reason: "must have room for at least a gateway and an instance"},
		{Field: "subnets[5].cidr", Reason: "must be a range of hosts' addresses"},
		{Field: "subnets[5].cidr", Reason: "overlaps 10.1.0.1/24"},
		{Field: "subnets[6].cidr", Reason: "must be a range of hosts' addresses"},
		{Field: "subnets[6].cidr", Reason: "overlaps 0.0.0.0/0"},
		{Field: "subnets[7].cidr", Reason: "must be a range of hosts' addresses"},
		{Field: "subnets[8].gateway", Reason: "must lie in fd00::/64"},
		{Field: "external", Reason: `must be "isolated", "nat", "routed" or "bridged"`},
		{Field: "bridge", Reason: "must not contain spaces, slashes, colons or characters beyond ASCII"},
		{Field: "domain", Reason: "is no DNS name: a label must not be empty"},
		{Field: "dns.upstream[0]", Reason: "must be a host's address"},
		{Field: "dns.upstream[1]", Reason: "must be a host's address"},
		{Field: "dns.upstream[3]", Reason: "must be a host's address"},
		{Field: `dns.hosts["a\n"]`, Reason: `is no DNS name: a label must consist of a-z, 0-9 and '-', has "\n"`},
		{Field: "dns.hosts[none]", Reason: "must have an address"},
		{Field: "dns.hosts[zero][0]", Reason: "must be an address without a zone"},
		{Field: "dns.hosts[zone][1]", Reason: "must be an address without a zone"},
		{Field: "mtu", Reason: "must be from 576 to 65535, is 575"},
		{Field: "lifetime.until", Reason: "must not be set together with ephemeral"},
		{Field: "labels[univirt.io/x]", Reason: "the prefix univirt.io/ is reserved"},
		{Field: `annotations[""]`, Reason: "the key must have 1 to 63 bytes"},
	}
	for range 10 {
		require.Equal(t, want, spec.Validate(), "in the order of the fields, every time")
	}
}

func TestSpecValidateOfBridges(t *testing.T) {
	for _, c := range []struct {
		external network.External
		bridge   string
		reason   string
	}{
		{network.Bridged, "", `is required where external is "bridged"`},
		{network.NAT, "br0", `needs external to be "bridged"`},
		{"", "br0", `needs external to be "bridged"`},
		{network.Bridged, strings.Repeat("b", 16), "must have at most 15 bytes"},
		{network.Bridged, "..", "must not be a path"},
		{network.Bridged, ".", "must not be a path"},
		{network.Bridged, "a/b", "must not contain spaces, slashes, colons or characters beyond ASCII"},
		{network.Bridged, "br\x00", "must not contain spaces, slashes, colons or characters beyond ASCII"},
		{network.Bridged, "brücke", "must not contain spaces, slashes, colons or characters beyond ASCII"},
		{network.Bridged, "%s", "must not contain spaces, slashes, colons or characters beyond ASCII"},
	} {
		faults := network.Spec{Name: "a", External: c.external, Bridge: c.bridge}.Validate()
		assert.Equal(t, resource.Faults{{Field: "bridge", Reason: c.reason}}, faults, "%q", c.bridge)
	}
}

func TestCheckDomain(t *testing.T) {
	for _, good := range []string{"a", "example.com", "a.b.c", "xn--bcher-kva.example", "1.2", strings.Repeat("a.", 126) + "b"} {
		assert.Empty(t, network.CheckDomain(good), good)
	}
	for _, bad := range []string{
		"", ".", "a.", ".a", "a..b", "A", "a_b", "-a.b", "a-.b", "*.a", "büro.example", "a b", "a\x00", "a\n",
		strings.Repeat("a", 64) + ".b", strings.Repeat("a.", 127) + "b",
	} {
		assert.NotEmpty(t, network.CheckDomain(bad), "%q", bad)
	}
}

func TestOverlaps(t *testing.T) {
	subnets := func(texts ...string) (out []network.Subnet) {
		for _, text := range texts {
			out = append(out, network.Subnet{CIDR: cidr(text)})
		}
		return out
	}
	a, b, ok := network.Overlaps(subnets("10.0.0.0/24", "fd00::/64"), subnets("10.1.0.0/16", "fd00::/48"))
	assert.True(t, ok)
	assert.Equal(t, "fd00::/64 fd00::/48", a.String()+" "+b.String())
	_, _, ok = network.Overlaps(subnets("10.0.0.0/24"), subnets("10.0.1.0/24", "fd00::/64"))
	assert.False(t, ok)
	_, _, ok = network.Overlaps([]network.Subnet{{}}, []network.Subnet{{}})
	assert.False(t, ok)
	_, _, ok = network.Overlaps(nil, subnets("10.0.0.0/24"))
	assert.False(t, ok)
}

func TestSpecRoundTrip(t *testing.T) {
	for _, spec := range []network.Spec{{}, {Name: "a"}, full()} {
		data, err := network.Encode(spec)
		require.NoError(t, err)
		back, err := network.Decode(data)
		require.NoError(t, err)
		assert.Empty(t, resource.Diff(spec, back))
		again, err := network.Encode(back)
		require.NoError(t, err)
		assert.Equal(t, string(data), string(again))
	}
	_, err := network.Decode([]byte(`{"apiVersion":"univirt.io/v1alpha1","kind":"network","spec":{"name":"a","vlan":1}}`))
	assert.True(t, errdefs.IsInvalidArgument(err))
	_, err = network.Decode([]byte(`{"apiVersion":"univirt.io/v9","kind":"network","spec":{}}`))
	assert.True(t, errdefs.IsFailedPrecondition(err))
}

func TestSpecClone(t *testing.T) {
	original := full()
	copied := original.Clone()
	assert.Equal(t, original, copied)
	copied.Subnets[0].DHCP = false
	copied.DNS.Upstream[0] = addr("192.0.2.1")
	copied.DNS.Hosts["db"][0] = addr("192.0.2.1")
	copied.Labels["tier"] = "changed"
	copied.Annotations["note"] = "changed"
	assert.Equal(t, full(), original)
}

func FuzzDecode(f *testing.F) {
	for _, spec := range []network.Spec{{}, {Name: "a"}, full()} {
		data, err := network.Encode(spec)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Add([]byte(`{"apiVersion":"univirt.io/v1alpha1","kind":"network","spec":{"subnets":[{"cidr":""},{"cidr":"10.0.0.1/24","gateway":"::"}],"dns":{"hosts":{"":[""]}}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		spec, err := network.Decode(data)
		if err != nil {
			return
		}
		faults := spec.Validate()
		canonical, err := network.Encode(spec)
		if len(faults) == 0 {
			require.NoError(t, err, "a valid spec can be stored")
		}
		if err != nil {
			return
		}
		back, err := network.Decode(canonical)
		require.NoError(t, err)
		assert.Equal(t, faults, back.Validate())
		assert.Empty(t, resource.Unmet(back, spec))
		assert.Empty(t, resource.Diff(spec, back))
		assert.Empty(t, resource.Diff(spec, spec.Clone()))
	})
}
