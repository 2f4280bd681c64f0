package libvirt

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt/network"
)

// dnsmasqOptions are what libvirt's server is told beside: not to look whether an
// address is in use before it gives it, which takes three seconds of every boot, and
// which the record knows.
var dnsmasqOptions = []string{"no-ping"}

// describeNetwork is a network as libvirt reads it. Only typed fields of libvirtxml are
// set, so that nothing of a spec is ever taken for XML.
func describeNetwork(id, name string, spec network.Spec, state networkState) (string, error) {
	n := libvirtxml.Network{Name: name, UUID: id}
	if spec.External == network.Bridged {
		n.Forward = &libvirtxml.NetworkForward{Mode: "bridge"}
		n.Bridge = &libvirtxml.NetworkBridge{Name: spec.Bridge}
		return n.Marshal()
	}
	// A port of a bridge with STP forwards nothing for some seconds.
	n.Bridge = &libvirtxml.NetworkBridge{STP: "off", Delay: "0"}
	n.MTU = &libvirtxml.NetworkMTU{Size: uint(spec.MTU)}
	n.Domain = &libvirtxml.NetworkDomain{Name: spec.Domain, LocalOnly: "yes"}
	switch spec.External {
	case network.NAT:
		n.Forward = &libvirtxml.NetworkForward{Mode: "nat"}
		if slices.ContainsFunc(spec.Subnets, func(s network.Subnet) bool { return s.CIDR.Addr().Is6() }) {
			n.Forward.NAT = &libvirtxml.NetworkForwardNAT{IPv6: "yes"}
		}
	case network.Routed:
		n.Forward = &libvirtxml.NetworkForward{Mode: "route"}
	}
	n.DNS = &libvirtxml.NetworkDNS{}
	if spec.DNS.Disabled {
		n.DNS.Enable = "no"
	} else {
		n.DNS.Host = dnsHosts(spec, state)
		for _, a := range spec.DNS.Upstream {
			n.DNS.Forwarders = append(n.DNS.Forwarders, libvirtxml.NetworkDNSForwarder{Addr: a.String()})
		}
	}
	for _, s := range spec.Subnets {
		ip := libvirtxml.NetworkIP{Address: s.Gateway.String(), Prefix: uint(s.CIDR.Bits())}
		if s.CIDR.Addr().Is6() {
			ip.Family = "ipv6"
		} else if hosts := append(dhcpHosts(state), spareHosts(id, spec, state)...); len(hosts) > 0 {
			ip.DHCP = &libvirtxml.NetworkDHCP{Hosts: hosts}
		}
		n.IPs = append(n.IPs, ip)
	}
	n.DnsmasqOptions = &libvirtxml.NetworkDnsmasqOptions{}
	for _, option := range dnsmasqOptions {
		n.DnsmasqOptions.Option = append(n.DnsmasqOptions.Option, libvirtxml.NetworkDnsmasqOption{Value: option})
	}
	return n.Marshal()
}

// dhcpHosts are the addresses that guests are given who ask. Beside them there are but
// those of MACs that the endpoints will have that come next.
func dhcpHosts(state networkState) []libvirtxml.NetworkDHCPHost {
	var hosts []libvirtxml.NetworkDHCPHost
	for _, e := range state.Endpoints {
		for _, a := range e.Addresses {
			if a.Addr().Is4() {
				hosts = append(hosts, libvirtxml.NetworkDHCPHost{MAC: e.MAC.String(), IP: a.Addr().String()})
			}
		}
	}
	return hosts
}

// spares is for how many endpoints there is an entry before they are made. An entry more
// takes libvirt longer than all else that it takes to plug a machine in, some 300 ms,
// as it writes the rules of the firewall anew (libvirt 9.0.0).
const spares = 16

// spareHosts are the entries of the endpoints that come next, whose MACs are made of
// their addresses. They do nothing before there is a machine with such a MAC.
func spareHosts(id string, spec network.Spec, state networkState) []libvirtxml.NetworkDHCPHost {
	n := slices.IndexFunc(spec.Subnets, func(s network.Subnet) bool { return s.CIDR.Addr().Is4() })
	if n < 0 {
		return nil
	}
	var hosts []libvirtxml.NetworkDHCPHost
	s := spec.Subnets[n]
	for a := s.First; !s.Last.Less(a) && len(hosts) < spares; a = a.Next() {
		if mac := spareMAC(id, spec, n, a); a != s.Gateway && !state.hasAddress(a) && !state.hasMAC(mac) {
			hosts = append(hosts, libvirtxml.NetworkDHCPHost{MAC: mac.String(), IP: a.String()})
		}
	}
	return hosts
}

// spareMAC is the MAC of whoever gets an address of the n-th subnet without asking for
// anything.
func spareMAC(id string, spec network.Spec, n int, a netip.Addr) network.HardwareAddr {
	addresses := make([]netip.Addr, len(spec.Subnets))
	addresses[n] = a
	return macOf(id, addresses, 0)
}

// spare reports whether an entry may stay although nobody has its address: whoever gets
// that next has the same MAC, unless somebody is there who asked for one of the two.
func spare(host libvirtxml.NetworkDHCPHost, id string, spec network.Spec, want []libvirtxml.NetworkDHCPHost) bool {
	a, err := netip.ParseAddr(host.IP)
	n := slices.IndexFunc(spec.Subnets, func(s network.Subnet) bool { return err == nil && a.Is4() && s.CIDR.Contains(a) })
	return n >= 0 && strings.EqualFold(host.MAC, spareMAC(id, spec, n, a).String()) && !slices.ContainsFunc(want, func(w libvirtxml.NetworkDHCPHost) bool {
		return w.IP == host.IP || strings.EqualFold(w.MAC, host.MAC)
	})
}

// dnsHosts are the names of the network. Libvirt has one entry for an address, and
// lets no name be in two, as it must be for an alias that several endpoints share,
// and for both addresses of one. As names are the same in small and in capital
// letters to DNS, and not to libvirt, each is spelled in another way.
func dnsHosts(spec network.Spec, state networkState) []libvirtxml.NetworkDNSHost {
	byAddress := map[netip.Addr][]string{}
	var order []netip.Addr
	add := func(a netip.Addr, names ...string) {
		if len(names) == 0 {
			return
		}
		if _, known := byAddress[a]; !known {
			order = append(order, a)
		}
		byAddress[a] = append(byAddress[a], names...)
	}
	for _, name := range slices.Sorted(maps.Keys(spec.DNS.Hosts)) {
		for _, a := range spec.DNS.Hosts[name] {
			add(a, name)
		}
	}
	for _, e := range state.Endpoints {
		names := slices.Clone(e.Aliases)
		if e.Name != "" {
			names = append([]string{e.Name}, names...)
		}
		for _, a := range e.Addresses {
			add(a.Addr(), names...)
		}
	}
	spelled := map[string]int{}
	var hosts []libvirtxml.NetworkDNSHost
	for _, a := range order {
		host := libvirtxml.NetworkDNSHost{IP: a.String()}
		for _, name := range slices.Compact(slices.Sorted(slices.Values(byAddress[a]))) {
			name = strings.ToLower(name)
			if text, ok := spelling(name, spelled[name]); ok {
				host.Hostnames = append(host.Hostnames, libvirtxml.NetworkDNSHostHostname{Hostname: text})
				spelled[name]++
			}
		}
		if len(host.Hostnames) > 0 {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// spelling is the n-th way to spell a name, where it has enough letters for that.
func spelling(name string, n int) (string, bool) {
	text := []byte(name)
	for i := 0; n > 0; i++ {
		if i == len(text) {
			return "", false
		}
		if c := text[i]; c >= 'a' && c <= 'z' {
			if n&1 != 0 {
				text[i] = c - 'a' + 'A'
			}
			n >>= 1
		}
	}
	return string(text), true
}

// subnetsOf reads the subnets of a network that anybody may have made.
func subnetsOf(n *libvirtxml.Network) []network.Subnet {
	var out []network.Subnet
	for _, ip := range n.IPs {
		a, err := netip.ParseAddr(ip.Address)
		if err != nil {
			continue
		}
		bits := int(ip.Prefix)
		if mask, err := netip.ParseAddr(ip.Netmask); err == nil && ip.Prefix == 0 {
			for _, b := range mask.AsSlice() {
				for ; b != 0; b <<= 1 {
					bits++
				}
			}
		}
		if p, err := a.Prefix(bits); err == nil && bits > 0 {
			out = append(out, network.Subnet{CIDR: p, Gateway: a, DHCP: ip.DHCP != nil && len(ip.DHCP.Ranges) > 0})
		}
	}
	return out
}

// updates are what leads from a network's live entries to those that it should have:
// first what goes, then what comes.
type updates struct {
	dropHosts, addHosts []libvirtxml.NetworkDHCPHost
	dropNames, addNames []libvirtxml.NetworkDNSHost
}

// updatesOf compares. The entries that libvirt gives are of one IPv4 subnet. Those of
// addresses that nobody has any more stay where they are of use again.
func updatesOf(live *libvirtxml.Network, id string, spec network.Spec, state networkState) updates {
	var u updates
	var have []libvirtxml.NetworkDHCPHost
	for _, ip := range live.IPs {
		if ip.DHCP != nil {
			have = append(have, ip.DHCP.Hosts...)
		}
	}
	sameHost := func(a, b libvirtxml.NetworkDHCPHost) bool { return strings.EqualFold(a.MAC, b.MAC) && a.IP == b.IP }
	want := dhcpHosts(state)
	for _, host := range missing(have, want, sameHost) {
		if !spare(host, id, spec, want) {
			u.dropHosts = append(u.dropHosts, host)
		}
	}
	u.addHosts = missing(want, have, sameHost)
	if !spec.DNS.Disabled {
		var named []libvirtxml.NetworkDNSHost
		if live.DNS != nil {
			named = live.DNS.Host
		}
		sameName := func(a, b libvirtxml.NetworkDNSHost) bool {
			return a.IP == b.IP && slices.EqualFunc(a.Hostnames, b.Hostnames, func(x, y libvirtxml.NetworkDNSHostHostname) bool { return x.Hostname == y.Hostname })
		}
		wanted := dnsHosts(spec, state)
		u.dropNames = missing(named, wanted, sameName)
		u.addNames = missing(wanted, named, sameName)
	}
	return u
}

// missing are the entries of one list that the other has not.
func missing[T any](of, in []T, same func(a, b T) bool) []T {
	var out []T
	for _, x := range of {
		if !slices.ContainsFunc(in, func(y T) bool { return same(x, y) }) {
			out = append(out, x)
		}
	}
	return out
}
