package network

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/univirt/univirt/resource"
)

// Spec says what network is wanted. A provider refuses every field that is not
// zero and that it does not honour.
type Spec struct {
	// Name is required: a DNS label of at most 63 bytes, unique among the
	// namespace's networks, immutable.
	Name string `json:"name"`
	// Subnets are the address ranges; empty lets the provider choose one IPv4
	// subnet. Immutable.
	Subnets []Subnet `json:"subnets,omitempty"`
	// External says how the network meets the outside; Isolated by default.
	// Immutable.
	External External `json:"external,omitempty"`
	// Bridge is an existing host interface to join instead of a segment of the
	// network's own; it needs External to be Bridged. Immutable.
	Bridge string `json:"bridge,omitempty"`
	// Domain is the DNS zone in which instances find each other; empty means
	// the network's name. Immutable.
	Domain string `json:"domain,omitempty"`
	// DNS configures name resolution. Immutable.
	DNS DNS `json:"dns,omitzero"`
	// MTU is the largest packet in bytes, from 576 to 65535; 0 lets the provider
	// choose. Immutable.
	MTU int `json:"mtu,omitempty"`

	// Lifetime is Persistent by default.
	Lifetime    resource.Lifetime    `json:"lifetime,omitzero"`
	Labels      resource.Labels      `json:"labels,omitempty"`
	Annotations resource.Annotations `json:"annotations,omitempty"`
}

// External says how a network meets the outside.
type External string

// The ways to meet the outside.
const (
	// Isolated networks reach nothing but themselves.
	Isolated External = "isolated"
	// NAT networks reach the outside behind the host's addresses.
	NAT External = "nat"
	// Routed networks reach the outside with their own addresses.
	Routed External = "routed"
	// Bridged networks are part of the segment of Spec.Bridge.
	Bridged External = "bridged"
)

// Subnet is one range of addresses.
type Subnet struct {
	// CIDR is the range, such as 10.1.0.0/24 or fd00:1::/64. Required, without
	// host bits.
	CIDR netip.Prefix `json:"cidr"`
	// Gateway is the host's address in the range; the zero value is the range's
	// first address.
	Gateway netip.Addr `json:"gateway,omitzero"`
	// First and Last bound the addresses that are assigned; zero values mean the
	// whole range but the gateway, the network's and the broadcast address.
	First netip.Addr `json:"first,omitzero"`
	Last  netip.Addr `json:"last,omitzero"`
	// DHCP says that guests learn their addresses by DHCP (or router
	// advertisement) as well as by assignment.
	DHCP bool `json:"dhcp,omitempty"`
}

// DNS configures name resolution on a network.
type DNS struct {
	// Disabled networks have no name server.
	Disabled bool `json:"disabled,omitempty"`
	// Upstream are the servers that other names are asked from; empty means the
	// host's.
	Upstream []netip.Addr `json:"upstream,omitempty"`
	// Hosts are further names with their addresses.
	Hosts map[string][]netip.Addr `json:"hosts,omitempty"`
}

// Clone returns a deep copy of the spec.
func (s Spec) Clone() Spec { return resource.Clone(s) }

// Validate reports every fault of the spec, each with its field's path.
func (s Spec) Validate() resource.Faults {
	var faults resource.Faults
	faults.AddReason("name", resource.CheckName(s.Name))
	for i, subnet := range s.Subnets {
		field := fmt.Sprintf("subnets[%d]", i)
		faults.Under(field, subnet.Validate())
		if _, other, ok := Overlaps(s.Subnets[i:i+1], s.Subnets[:i]); ok {
			faults.Add(field+".cidr", "overlaps %s", other)
		}
	}
	switch s.External {
	case "", Isolated, NAT, Routed:
		if s.Bridge != "" {
			faults.Add("bridge", "needs external to be %q", Bridged)
		}
	case Bridged:
		if s.Bridge == "" {
			faults.Add("bridge", "is required where external is %q", Bridged)
		}
	default:
		faults.Add("external", "must be %q, %q, %q or %q", Isolated, NAT, Routed, Bridged)
	}
	if s.Bridge != "" {
		faults.AddReason("bridge", checkInterface(s.Bridge))
	}
	if s.Domain != "" {
		faults.AddReason("domain", CheckDomain(s.Domain))
	}
	for i, a := range s.DNS.Upstream {
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() {
			faults.Add(fmt.Sprintf("dns.upstream[%d]", i), "must be a host's address")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.DNS.Hosts)) {
		field := resource.MapField("dns.hosts", name)
		faults.AddReason(field, CheckDomain(name))
		if len(s.DNS.Hosts[name]) == 0 {
			faults.Add(field, "must have an address")
		}
		for i, a := range s.DNS.Hosts[name] {
			if !a.IsValid() || a.Zone() != "" {
				faults.Add(fmt.Sprintf("%s[%d]", field, i), "must be an address without a zone")
			}
		}
	}
	if s.MTU != 0 && (s.MTU < 576 || s.MTU > 65535) {
		faults.Add("mtu", "must be from 576 to 65535, is %d", s.MTU)
	}
	faults.Under("lifetime", s.Lifetime.Validate())
	faults.Under("labels", s.Labels.Validate())
	faults.Under("annotations", s.Annotations.Validate())
	return faults
}

// Validate reports every fault of the subnet.
func (s Subnet) Validate() resource.Faults {
	var faults resource.Faults
	if !s.CIDR.IsValid() {
		faults.Add("cidr", "is required")
		return faults
	}
	if s.CIDR != s.CIDR.Masked() {
		faults.Add("cidr", "has host bits set; did you mean %s", s.CIDR.Masked())
	}
	if s.CIDR.Addr().Is4In6() {
		faults.Add("cidr", "must not be an IPv4-mapped IPv6 range")
	}
	if a := s.CIDR.Addr(); a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() {
		faults.Add("cidr", "must be a range of hosts' addresses")
	}
	if s.CIDR.Addr().BitLen()-s.CIDR.Bits() < 2 {
		faults.Add("cidr", "must have room for at least a gateway and an instance")
	}
	for _, a := range []struct {
		field string
		addr  netip.Addr
	}{{"gateway", s.Gateway}, {"first", s.First}, {"last", s.Last}} {
		if a.addr.IsValid() && !s.CIDR.Contains(a.addr) {
			faults.Add(a.field, "must lie in %s", s.CIDR)
		}
	}
	if g := s.Gateway; s.CIDR.Contains(g) && (g == s.CIDR.Masked().Addr() || g.Is4() && !s.CIDR.Contains(g.Next())) {
		faults.Add("gateway", "must not be the first address of %s, nor the last of an IPv4 range", s.CIDR)
	}
	if s.First.IsValid() && s.Last.IsValid() && s.Last.Less(s.First) {
		faults.Add("last", "must not be below first")
	}
	return faults
}

// CheckDomain says what is wrong with a DNS name, or returns "". It has at most
// 253 bytes and consists of labels as resource.CheckName has them, separated by
// dots.
func CheckDomain(name string) string {
	if len(name) > 253 {
		return "must have at most 253 bytes"
	}
	for label := range strings.SplitSeq(name, ".") {
		if reason := resource.CheckNamespace(label); reason != "" {
			return "is no DNS name: a label " + reason
		}
	}
	return ""
}

// checkInterface says what is wrong with the name of a Linux interface.
func checkInterface(name string) string {
	if len(name) > 15 {
		return "must have at most 15 bytes"
	}
	for _, c := range name {
		if c <= ' ' || c > '~' || c == '/' || c == ':' || c == '%' {
			return "must not contain spaces, slashes, colons or characters beyond ASCII"
		}
	}
	if name == "." || name == ".." {
		return "must not be a path"
	}
	return ""
}

// Encode writes the canonical form of the spec: versioned JSON, equal bytes for
// equal specs.
func Encode(spec Spec) ([]byte, error) { return resource.MarshalSpec(resource.KindNetwork, spec) }

// Decode reads the canonical form of a spec. It does not validate the spec.
func Decode(data []byte) (Spec, error) {
	var spec Spec
	err := resource.UnmarshalSpec(data, resource.KindNetwork, &spec)
	return spec, err
}
