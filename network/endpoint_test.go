package network_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

const someID = "0f8fad5b-d9cb-469f-a165-70867728950e"

func TestEndpointSpecValidate(t *testing.T) {
	assert.Empty(t, network.EndpointSpec{}.Validate())
	assert.Empty(t, network.EndpointSpec{
		Name: "web", Aliases: []string{"www", "front"}, MAC: network.HardwareAddr{2, 0, 0, 0, 0, 1},
		Addresses: []netip.Addr{addr("10.1.0.5"), addr("fd00::5"), addr("fe80::1")},
		For:       resource.Ref{Kind: resource.KindInstance, ID: someID},
	}.Validate())
	assert.Equal(t, resource.Faults{
		{Field: "name", Reason: `must consist of a-z, 0-9 and '-', has "W"`},
		{Field: "aliases[1]", Reason: "must not be empty"},
		{Field: "mac", Reason: "must have six bytes"},
		{Field: "addresses[0]", Reason: "must be a host's address without a zone"},
		{Field: "addresses[2]", Reason: "must not be an IPv4-mapped IPv6 address"},
	}, network.EndpointSpec{
		Name: "WEB", Aliases: []string{"a", ""}, MAC: network.HardwareAddr{2},
		Addresses: []netip.Addr{{}, addr("10.0.0.1"), addr("::ffff:10.0.0.1")},
	}.Validate())
}

func TestEndpointSpecValidateFor(t *testing.T) {
	for want, ref := range map[string]resource.Ref{
		"":         {Name: "web"},
		"for":      {Provider: "elsewhere", Kind: resource.KindInstance},
		"for.kind": {Kind: resource.KindVolume, Name: "web"},
	} {
		faults := network.EndpointSpec{For: ref}.Validate()
		if want == "" {
			assert.Empty(t, faults)
			continue
		}
		require.Len(t, faults, 1, "%v", ref)
		assert.Equal(t, want, faults[0].Field)
	}
}

func TestEndpointInfoAdmits(t *testing.T) {
	web := resource.Ref{Provider: "fake", Kind: resource.KindInstance, Namespace: "default", Name: "web", ID: someID}
	for says, c := range map[string]struct {
		meant resource.Ref
		want  bool
	}{
		"anybody":           {resource.Ref{}, true},
		"itself":            {web, true},
		"its name":          {resource.Ref{Name: "web"}, true},
		"its ID":            {resource.Ref{ID: someID}, true},
		"another provider":  {resource.Ref{Provider: "elsewhere", Name: "web"}, false},
		"another kind":      {resource.Ref{Kind: resource.KindVolume, Name: "web"}, false},
		"another namespace": {resource.Ref{Namespace: "other", Name: "web"}, false},
		"another name":      {resource.Ref{Name: "db"}, false},
		"a later instance":  {resource.Ref{Name: "web", ID: "1f8fad5b-d9cb-469f-a165-70867728950e"}, false},
	} {
		assert.Equal(t, c.want, network.EndpointInfo{For: c.meant}.Admits(web), says)
	}
}

func TestCheckMAC(t *testing.T) {
	for text, reason := range map[string]string{
		"02:00:00:00:00:01":       "",
		"fe:ff:ff:ff:ff:ff":       "",
		"00:00:00:00:00:01":       "",
		"00:00:00:00:00:00":       "must not be zero",
		"01:00:5e:00:00:01":       "must not be a multicast address",
		"ff:ff:ff:ff:ff:ff":       "must not be a multicast address",
		"02:00:00:00:00:00:00:01": "must have six bytes",
	} {
		var mac network.HardwareAddr
		require.NoError(t, mac.UnmarshalText([]byte(text)))
		assert.Equal(t, reason, network.CheckMAC(mac), text)
	}
	assert.Empty(t, network.CheckMAC(nil))
}

func TestCheckHostAddress(t *testing.T) {
	for _, good := range []string{"10.0.0.1", "192.0.2.255", "2001:db8::1", "fe80::1"} {
		assert.Empty(t, network.CheckHostAddress(addr(good)), good)
	}
	for _, bad := range []string{"0.0.0.0", "::", "127.0.0.1", "::1", "224.0.0.1", "ff02::1", "fe80::1%eth0", "::ffff:10.0.0.1"} {
		assert.NotEmpty(t, network.CheckHostAddress(addr(bad)), bad)
	}
	assert.NotEmpty(t, network.CheckHostAddress(netip.Addr{}))
}

func TestHardwareAddr(t *testing.T) {
	for text, want := range map[string]string{
		"02:00:00:00:00:01": "02:00:00:00:00:01",
		"02-00-00-00-00-FF": "02:00:00:00:00:ff",
		"0200.0000.0001":    "02:00:00:00:00:01",
		"":                  "",
	} {
		var mac network.HardwareAddr
		require.NoError(t, mac.UnmarshalText([]byte(text)), text)
		assert.Equal(t, want, mac.String())
		data, err := json.Marshal(mac)
		require.NoError(t, err)
		assert.Equal(t, `"`+want+`"`, string(data))
		back := network.HardwareAddr{9}
		require.NoError(t, json.Unmarshal(data, &back))
		assert.True(t, mac.Equal(back))
		assert.Equal(t, mac, back)
	}
	mac := network.HardwareAddr{2, 0, 0, 0, 0, 1}
	for _, bad := range []string{
		"02:00:00:00:00", "02:00:00:00:00:0g", "02:00:00:00:00:01:", "2:0:0:0:0:1", "zz", "02:00:00:00:00:01\x00", "\n\x1b[31m",
		strings.Repeat("02:", 1000),
	} {
		err := mac.UnmarshalText([]byte(bad))
		require.Error(t, err, "%q", bad)
		assert.Contains(t, err.Error(), resource.Quote(bad))
		assert.Equal(t, "02:00:00:00:00:01", mac.String(), "a failed reading changes nothing")
	}
	assert.False(t, mac.Equal(network.HardwareAddr{2}))
	assert.True(t, network.HardwareAddr(nil).Equal(network.HardwareAddr{}))
}

func TestEndpointFilter(t *testing.T) {
	info := network.EndpointInfo{Ref: resource.Ref{Name: "web"}, For: resource.Ref{ID: someID}}
	for _, c := range []struct {
		filter network.EndpointFilter
		want   bool
	}{
		{network.EndpointFilter{}, true},
		{network.EndpointFilter{For: []string{"x", someID}}, true},
		{network.EndpointFilter{For: []string{"x"}}, false},
		{network.EndpointFilter{Names: []string{"web"}}, true},
		{network.EndpointFilter{Names: []string{"db"}, For: []string{someID}}, false},
	} {
		assert.Equal(t, c.want, c.filter.Matches(info), "%+v", c.filter)
	}
}

func FuzzHardwareAddr(f *testing.F) {
	for _, seed := range []string{"", "02:00:00:00:00:01", "0200.0000.0001", "02-00", "::", "00:00:00:00:fe:80:00:00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var mac network.HardwareAddr
		if mac.UnmarshalText([]byte(text)) != nil {
			return
		}
		out, err := mac.MarshalText()
		require.NoError(t, err)
		var again network.HardwareAddr
		require.NoError(t, again.UnmarshalText(out))
		assert.True(t, mac.Equal(again))
		if len(mac) > 0 && network.CheckMAC(mac) == "" {
			assert.Len(t, mac, 6)
		}
	})
}

func TestEndpointSpecHasACanonicalForm(t *testing.T) {
	spec := network.EndpointSpec{
		Name: "web", Aliases: []string{"www"}, MAC: network.HardwareAddr{2, 0, 0, 0, 0, 1},
		Addresses: []netip.Addr{addr("10.1.0.5"), addr("fd00::5")}, For: resource.Ref{Kind: resource.KindInstance, ID: someID},
	}
	data, err := resource.MarshalSpec(resource.KindEndpoint, spec)
	require.NoError(t, err)
	assert.JSONEq(t, `{"apiVersion":"`+resource.APIVersion+`","kind":"endpoint","spec":{"name":"web","aliases":["www"],`+
		`"mac":"02:00:00:00:00:01","addresses":["10.1.0.5","fd00::5"],"for":{"kind":"instance","id":"`+someID+`"}}}`, string(data))
	var back network.EndpointSpec
	require.NoError(t, resource.UnmarshalSpec(data, resource.KindEndpoint, &back))
	assert.Equal(t, spec, back)
}
