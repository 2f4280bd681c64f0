package libvirt

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

func subnets(cidrs ...string) []network.Subnet {
	var out []network.Subnet
	for _, cidr := range cidrs {
		out = append(out, subnetChoices(network.Subnet{CIDR: netip.MustParsePrefix(cidr)}))
	}
	return out
}

func TestNetworksOfSpecs(t *testing.T) {
	for name, spec := range map[string]network.Spec{
		"network-isolated": {Name: "lan", Subnets: subnets("10.1.2.0/24", "fd00:1::/64")},
		"network-nat": {Name: "lan", External: network.NAT, Domain: "example.test", MTU: 1400, Subnets: subnets("10.1.2.0/24", "fd00:1::/64"), DNS: network.DNS{
			Upstream: []netip.Addr{netip.MustParseAddr("192.0.2.53")}, Hosts: map[string][]netip.Addr{"printer": {netip.MustParseAddr("192.0.2.9")}},
		}},
		"network-routed":  {Name: "lan", External: network.Routed, Subnets: subnets("10.1.2.0/24"), DNS: network.DNS{Disabled: true}},
		"network-bridged": {Name: "lan", External: network.Bridged, Bridge: "br0"},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, checkNetwork(spec))
			own := networkChoices(spec)
			var state networkState
			for _, e := range []endpointRecord{{ID: "1", Name: "web", Aliases: []string{"service"}}, {ID: "2", Name: "db", Aliases: []string{"service"}}} {
				_, err := state.reserve(goldenID, own.Subnets, e, nil)
				require.NoError(t, err)
			}
			got, err := describeNetwork(goldenID, "team.lan", own, state)
			require.NoError(t, err)
			file := filepath.Join("testdata", name+".xml")
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(got+"\n"), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Equal(t, string(want), got+"\n", "to write it anew: go test ./providers/libvirt -run TestNetworksOfSpecs -update")

			// What was just made needs no change, and what is empty needs all of it.
			var live libvirtxml.Network
			require.NoError(t, live.Unmarshal(got))
			if spec.External != network.Bridged {
				assert.Equal(t, updates{}, updatesOf(&live, goldenID, own, state))
				changes := updatesOf(&libvirtxml.Network{}, goldenID, own, state)
				assert.Len(t, changes.addHosts, 2)
				assert.Equal(t, own.Subnets[0].CIDR, subnetsOf(&live)[0].CIDR)
			}
		})
	}
}

// TestAnEntryServesTheNextWithItsAddress has endpoints come and go, which leaves the
// entries for those to come as they are.
func TestAnEntryServesTheNextWithItsAddress(t *testing.T) {
	own := networkChoices(network.Spec{Name: "lan", Subnets: subnets("10.1.2.0/24", "fd00:1::/64")})
	var none networkState
	text, err := describeNetwork(goldenID, "team.lan", own, none)
	require.NoError(t, err)
	var live libvirtxml.Network
	require.NoError(t, live.Unmarshal(text))
	hosts := &live.IPs[0].DHCP.Hosts
	require.Len(t, *hosts, spares)

	first := none
	_, err = first.reserve(goldenID, own.Subnets, endpointRecord{ID: "1", Name: "web"}, nil)
	require.NoError(t, err)
	u := updatesOf(&live, goldenID, own, first)
	assert.Empty(t, u.addHosts)
	assert.Empty(t, u.dropHosts)
	assert.NotEmpty(t, u.addNames)

	// Whoever asks for a MAC gets an entry in the place of that one, and takes it along.
	for name, e := range map[string]endpointRecord{
		"an address":  {ID: "1", MAC: network.HardwareAddr{0x52, 0x54, 0, 1, 2, 3}},
		"another MAC": {ID: "1", MAC: first.Endpoints[0].MAC},
	} {
		var asked networkState
		_, err = asked.reserve(goldenID, own.Subnets, e, []netip.Addr{netip.MustParseAddr("10.1.2.9")})
		require.NoError(t, err)
		u = updatesOf(&live, goldenID, own, asked)
		require.Len(t, u.addHosts, 1, name)
		for _, gone := range u.dropHosts {
			assert.True(t, gone.IP == u.addHosts[0].IP || gone.MAC == u.addHosts[0].MAC, name)
		}
		assert.NotEmpty(t, u.dropHosts, name)
		also := live
		also.IPs = []libvirtxml.NetworkIP{{DHCP: &libvirtxml.NetworkDHCP{Hosts: u.addHosts}}}
		assert.Equal(t, u.addHosts, updatesOf(&also, goldenID, own, none).dropHosts, name)
	}
	stray := libvirtxml.Network{IPs: []libvirtxml.NetworkIP{{DHCP: &libvirtxml.NetworkDHCP{Hosts: []libvirtxml.NetworkDHCPHost{{MAC: "52:54:00:00:00:01", IP: "?"}}}}}}
	assert.Len(t, updatesOf(&stray, goldenID, own, none).dropHosts, 1)
}

func TestSpellings(t *testing.T) {
	seen := map[string]bool{}
	for n := range 8 {
		text, ok := spelling("a-1bc", n)
		require.True(t, ok)
		assert.Equal(t, "a-1bc", strings.ToLower(text))
		assert.False(t, seen[text], text)
		seen[text] = true
	}
	_, ok := spelling("a-1bc", 8)
	assert.False(t, ok, "there are no more")
	_, ok = spelling("10", 1)
	assert.False(t, ok)
}

func TestWhatLibvirtsNetworksCannotBe(t *testing.T) {
	for name, c := range map[string]struct {
		spec  network.Spec
		field string
	}{
		"two of a family":     {network.Spec{Subnets: subnets("10.1.0.0/24", "10.2.0.0/24")}, "subnets[1]"},
		"a small IPv6 subnet": {network.Spec{Subnets: subnets("fd00::/80")}, "subnets[0].cidr"},
		"a subnet of others":  {network.Spec{External: network.Bridged, Bridge: "br0", Subnets: subnets("10.1.0.0/24")}, "subnets"},
		"names of others":     {network.Spec{External: network.Bridged, Bridge: "br0", Domain: "x"}, "domain"},
	} {
		faults := resource.FaultsOf(checkNetwork(c.spec))
		require.Len(t, faults, 1, name)
		assert.Equal(t, c.field, faults[0].Field, name)
	}
}

func TestReserve(t *testing.T) {
	lan := subnets("10.1.2.0/29", "fd00:1::/64")
	mac := network.HardwareAddr{0x52, 0x54, 0, 1, 2, 3}
	var s networkState
	first, err := s.reserve("net", lan, endpointRecord{ID: "1", MAC: mac}, []netip.Addr{netip.MustParseAddr("10.1.2.4")})
	require.NoError(t, err)
	assert.Equal(t, "[10.1.2.4/29 fd00:1::5054:ff:fe01:203/64]", netipText(first.Addresses))
	for name, c := range map[string]struct {
		mac   network.HardwareAddr
		wants []string
		kind  error
		field string
	}{
		"a MAC twice":                {mac, nil, errdefs.ErrAlreadyExists, "mac"},
		"an address twice":           {nil, []string{"10.1.2.4"}, errdefs.ErrAlreadyExists, "addresses[0]"},
		"two in one subnet":          {nil, []string{"10.1.2.5", "10.1.2.6"}, errdefs.ErrInvalidArgument, "addresses[1]"},
		"the gateway":                {nil, []string{"10.1.2.1"}, errdefs.ErrInvalidArgument, "addresses[0]"},
		"the network's":              {nil, []string{"10.1.2.0"}, errdefs.ErrInvalidArgument, "addresses[0]"},
		"everybody's":                {nil, []string{"10.1.2.7"}, errdefs.ErrInvalidArgument, "addresses[0]"},
		"one of no subnet":           {nil, []string{"10.9.9.9"}, errdefs.ErrInvalidArgument, "addresses[0]"},
		"one that no guest would be": {nil, []string{"fd00:1::5"}, errdefs.ErrInvalidArgument, "addresses[0]"},
	} {
		var wants []netip.Addr
		for _, text := range c.wants {
			wants = append(wants, netip.MustParseAddr(text))
		}
		_, err := s.reserve("net", lan, endpointRecord{ID: name, MAC: c.mac}, wants)
		require.ErrorIs(t, err, c.kind, name)
		field := ""
		if faults := resource.FaultsOf(err); len(faults) > 0 {
			field = faults[0].Field
		}
		var own *resource.Error
		if field == "" {
			require.ErrorAs(t, err, &own, name)
			field = own.Field
		}
		assert.Equal(t, c.field, field, name)
		assert.Len(t, s.Endpoints, 1, name)
	}
	for n := range 4 {
		_, err := s.reserve("net", lan, endpointRecord{ID: string(rune('a' + n))}, nil)
		require.NoError(t, err)
	}
	_, err = s.reserve("net", lan, endpointRecord{ID: "last"}, nil)
	require.ErrorIs(t, err, errdefs.ErrResourceExhausted)
	before := s.Endpoints[s.find("a")]
	s.remove("a")
	after, err := s.reserve("net", lan, endpointRecord{ID: "last"}, nil)
	require.NoError(t, err)
	assert.Equal(t, before.Addresses, after.Addresses)
	assert.Equal(t, before.MAC, after.MAC, "to which the address is leased")
	s.remove("last")
	other, err := s.reserve("another", lan, endpointRecord{ID: "last"}, nil)
	require.NoError(t, err)
	assert.NotEqual(t, before.MAC, other.MAC)
}

func netipText(all []netip.Prefix) string {
	var texts []string
	for _, p := range all {
		texts = append(texts, p.String())
	}
	return "[" + strings.Join(texts, " ") + "]"
}

// FuzzNetwork holds that no spec alters the description: it is refused, or found
// again in what was made of it.
func FuzzNetwork(f *testing.F) {
	f.Add("lan", "lan.test", "br0", "printer", "web", "10.1.2.0/24", 1400)
	f.Add("a", "x'/><y>", "br&0", "]]>", "a<b", "fd00::/64", 576)
	f.Fuzz(func(t *testing.T, name, domain, bridge, host, alias, cidr string, mtu int) {
		spec := network.Spec{Name: name, Domain: domain, MTU: mtu, DNS: network.DNS{Hosts: map[string][]netip.Addr{host: {netip.MustParseAddr("192.0.2.9")}}}}
		if p, err := netip.ParsePrefix(cidr); err == nil {
			spec.Subnets = []network.Subnet{{CIDR: p}}
		}
		if bridge != "" && domain == "" {
			spec = network.Spec{Name: name, External: network.Bridged, Bridge: bridge}
		}
		endpoint := network.EndpointSpec{Aliases: []string{alias}}
		if len(spec.Validate()) > 0 || len(endpoint.Validate()) > 0 || checkNetwork(spec) != nil {
			return
		}
		own := networkChoices(spec)
		var state networkState
		if _, err := state.reserve("net", own.Subnets, endpointRecord{ID: "1", Aliases: endpoint.Aliases}, nil); err != nil {
			return
		}
		text, err := describeNetwork(goldenID, "team."+name, own, state)
		require.NoError(t, err)
		var n libvirtxml.Network
		require.NoError(t, n.Unmarshal(text))
		require.Equal(t, "team."+name, n.Name)
		require.Equal(t, goldenID, n.UUID)
		if own.External == network.Bridged {
			require.Equal(t, bridge, n.Bridge.Name)
			return
		}
		require.Equal(t, own.Domain, n.Domain.Name)
		require.Len(t, n.IPs, len(own.Subnets))
		require.LessOrEqual(t, len(n.DNS.Host), 1+2*len(own.Subnets))
	})
}

func TestNetworkCards(t *testing.T) {
	var d libvirtxml.Domain
	d.Devices = &libvirtxml.DomainDeviceList{}
	applyNetworks(&d, []netUse{{Libvirt: "team.lan", MAC: "52:54:00:01:02:03"}})
	require.Len(t, d.Devices.Interfaces, 1)
	assert.Equal(t, "team.lan", d.Devices.Interfaces[0].Source.Network.Network)
}

func TestNetworkCardsOnABridgeOfOthers(t *testing.T) {
	info := network.EndpointInfo{
		Ref:     resource.Ref{Provider: "other", Kind: resource.KindEndpoint, ID: goldenID, Name: "web"},
		Network: resource.Ref{Provider: "other", Kind: resource.KindNetwork, ID: goldenID, Name: "lan"},
		MAC:     network.HardwareAddr{2, 0, 0, 0, 0, 1}, Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.0.2/24")}, Source: "lease",
		Gateways: []netip.Addr{netip.MustParseAddr("10.1.0.1")}, Aliases: []string{"www"}, For: resource.Ref{Name: "web"}, PluggedIn: true,
		Attachment: network.Attachment{Bridge: "br-others", MTU: 1400},
	}
	// What the record keeps is what is needed without the network's value.
	text, err := json.Marshal(useOf(info))
	require.NoError(t, err)
	var use netUse
	require.NoError(t, json.Unmarshal(text, &use))
	info.Source, info.PluggedIn = "assigned", false
	assert.Equal(t, info, use.recorded())
	card := use.card()
	text2, err := card.Marshal()
	require.NoError(t, err)
	assert.Equal(t, `<interface type="bridge">
  <mac address="02:00:00:00:00:01"></mac>
  <source bridge="br-others"></source>
  <model type="virtio"></model>
  <mtu size="1400"></mtu>
</interface>`, text2)
	assert.True(t, use.isCard(card))
	assert.False(t, netUse{Libvirt: "team.lan", MAC: use.MAC}.isCard(card))
	assert.False(t, use.isCard(netUse{Libvirt: "team.lan", MAC: use.MAC}.card()))
	info.Addresses, info.Attachment.MTU = nil, 0
	bare := useOf(info)
	assert.Nil(t, bare.card().MTU)
	assert.NotEmpty(t, bare.recorded().Reason)
	assert.Empty(t, bare.recorded().Source)
}
