package libvirt

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// networkState is what a network's record keeps beside its spec: the endpoints in
// the order of their making. A revision of the record is a compare-and-set, so that
// no two endpoints have one address, on whatever hosts they are made.
type networkState struct {
	// Changed counts the changes of labels and annotations.
	Changed   int              `json:"changed,omitempty"`
	Endpoints []endpointRecord `json:"endpoints,omitempty"`
}

// endpointRecord is an endpoint.
type endpointRecord struct {
	ID        string               `json:"id"`
	Name      string               `json:"name,omitempty"`
	Aliases   []string             `json:"aliases,omitempty"`
	MAC       network.HardwareAddr `json:"mac"`
	Addresses []netip.Prefix       `json:"addresses,omitempty"`
	For       resource.Ref         `json:"for,omitzero"`
	// Holder is the ID of the instance that has it; Own says that it goes with that.
	Holder string `json:"holder,omitempty"`
	Own    bool   `json:"own,omitempty"`
}

func readNetworkState(d document) (networkState, error) {
	var s networkState
	if len(d.More) == 0 {
		return s, nil
	}
	if err := json.Unmarshal(d.More, &s); err != nil {
		return s, resource.Errorf(errdefs.ErrDataLoss, "the network's record cannot be read: %w", err)
	}
	return s, nil
}

func (s networkState) into(d document) (document, error) {
	more, err := json.Marshal(s)
	d.More = more
	return d, err
}

// find returns the place of an endpoint, or -1.
func (s networkState) find(id string) int {
	return slices.IndexFunc(s.Endpoints, func(e endpointRecord) bool { return e.ID == id })
}

// revision is that of the network, which an endpoint that comes or goes does not
// change.
func (s networkState) revision() string { return strconv.Itoa(s.Changed + 1) }

const defaultMTU = 1500

// networkChoices returns the spec with what the provider chooses, but for the subnet.
func networkChoices(spec network.Spec) network.Spec {
	spec = spec.Clone()
	if spec.External == "" {
		spec.External = network.Isolated
	}
	if spec.Domain == "" && spec.External != network.Bridged {
		spec.Domain = spec.Name
	}
	if spec.MTU == 0 && spec.External != network.Bridged {
		spec.MTU = defaultMTU
	}
	for i := range spec.Subnets {
		spec.Subnets[i] = subnetChoices(spec.Subnets[i])
	}
	return spec
}

func subnetChoices(s network.Subnet) network.Subnet {
	if !s.Gateway.IsValid() {
		s.Gateway = s.CIDR.Addr().Next()
	}
	if !s.First.IsValid() {
		s.First = s.CIDR.Addr().Next()
	}
	if !s.Last.IsValid() {
		s.Last = lastHost(s.CIDR)
	}
	return s
}

// lastHost is the last address that a host may have.
func lastHost(subnet netip.Prefix) netip.Addr {
	raw := subnet.Addr().AsSlice()
	for bit := subnet.Bits(); bit < len(raw)*8; bit++ {
		raw[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(raw)
	if last.Is4() {
		last = last.Prev() // the very last one is for everybody
	}
	return last
}

// subnetFor is a subnet that is nobody's yet, as far as is known. Where the choice
// begins depends on the ID.
func subnetFor(id string, taken func(netip.Prefix) bool) (netip.Prefix, error) {
	sum := sha256.Sum256([]byte(id))
	at := int(sum[0])<<8 | int(sum[1])
	for try := range 1 << 16 {
		n := (at + try) & 0xffff
		candidate := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n >> 8), byte(n), 0}), 24)
		if !taken(candidate) {
			return candidate, nil
		}
	}
	return netip.Prefix{}, resource.Errorf(errdefs.ErrResourceExhausted, "no subnet is left")
}

// checkNetwork finds what libvirt's networks cannot be.
func checkNetwork(spec network.Spec) error {
	var faults resource.Faults
	families := map[bool]int{}
	for i, s := range spec.Subnets {
		field := fmt.Sprintf("subnets[%d]", i)
		is4 := s.CIDR.Addr().Is4()
		if families[is4]++; families[is4] > 1 {
			faults.Add(field, "must be the only one of its family: libvirt gives addresses on one")
		}
		if !is4 && s.CIDR.Bits() != 64 {
			faults.Add(field+".cidr", "must be a /64: guests make their address of it and of their MAC")
		}
	}
	if spec.External == network.Bridged {
		for field, set := range map[string]bool{
			"subnets": len(spec.Subnets) > 0, "domain": spec.Domain != "", "mtu": spec.MTU != 0,
			"dns.disabled": spec.DNS.Disabled, "dns.upstream": len(spec.DNS.Upstream) > 0, "dns.hosts": len(spec.DNS.Hosts) > 0,
		} {
			if set {
				faults.Add(field, "must be empty where external is %q: the segment is somebody else's", network.Bridged)
			}
		}
	}
	slices.SortFunc(faults, func(a, b resource.Fault) int { return strings.Compare(a.Field, b.Field) })
	return faults.Err()
}

// newMAC is the hardware address of an endpoint, in the range that QEMU's and
// libvirt's own are of (https://wiki.qemu.org/Documentation/Networking#How_to_change_the_default_MAC_address).
func newMAC(of string) network.HardwareAddr {
	sum := sha256.Sum256([]byte(of))
	return network.HardwareAddr{0x52, 0x54, 0x00, sum[0], sum[1], sum[2]}
}

// macOf is the MAC of who has the addresses, at the first try unless somebody asked for
// the same one.
func macOf(of string, addresses []netip.Addr, try int) network.HardwareAddr {
	return newMAC(fmt.Sprint(of, addresses, try))
}

// madeOf is the address that a guest makes of a /64 and its MAC, the modified EUI-64
// of RFC 4291, appendix A.
func madeOf(subnet netip.Prefix, mac network.HardwareAddr) netip.Addr {
	raw := subnet.Addr().As16()
	copy(raw[8:], []byte{mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
	return netip.AddrFrom16(raw)
}

// reserve adds an endpoint to the state of a network.
//
// A MAC that is not asked for is made of the network and the address: dnsmasq gives
// nobody an address that is leased to another MAC, so that whoever gets one next
// would wait for the lease's end.
func (s *networkState) reserve(of string, subnets []network.Subnet, e endpointRecord, wanted []netip.Addr) (endpointRecord, error) {
	if len(e.MAC) > 0 && s.hasMAC(e.MAC) {
		return e, &resource.Error{Kind: errdefs.ErrAlreadyExists, Field: "mac", Err: errors.New("another endpoint has it")}
	}
	addresses := make([]netip.Addr, len(subnets))
	asked := make([]string, len(subnets)) // the fields
	for i, a := range wanted {
		field := fmt.Sprintf("addresses[%d]", i)
		n := slices.IndexFunc(subnets, func(s network.Subnet) bool { return s.CIDR.Contains(a) })
		switch {
		case n < 0:
			return e, resource.Faults{{Field: field, Reason: "must lie in a subnet of the network"}}.Err()
		case addresses[n].IsValid():
			return e, resource.Faults{{Field: field, Reason: "must be the only one in " + subnets[n].CIDR.String()}}.Err()
		case a == subnets[n].Gateway || a == subnets[n].CIDR.Addr() || lastHost(subnets[n].CIDR).Less(a):
			return e, resource.Faults{{Field: field, Reason: "must be a host's, and not the gateway's"}}.Err()
		case s.hasAddress(a):
			return e, &resource.Error{Kind: errdefs.ErrAlreadyExists, Field: field, Err: errors.New("another endpoint has it")}
		}
		addresses[n], asked[n] = a, field
	}
	for n, subnet := range subnets {
		if subnet.CIDR.Addr().Is4() && !addresses[n].IsValid() {
			var err error
			if addresses[n], err = s.next(subnet); err != nil {
				return e, err
			}
		}
	}
	for try := 0; len(e.MAC) == 0; try++ {
		if mac := macOf(of, addresses, try); !s.hasMAC(mac) {
			e.MAC = mac
		}
	}
	for n, subnet := range subnets {
		if subnet.CIDR.Addr().Is6() {
			made := madeOf(subnet.CIDR, e.MAC)
			if addresses[n].IsValid() && addresses[n] != made {
				return e, resource.Faults{{Field: asked[n], Reason: "must be " + made.String() + ", which the guest makes of its MAC"}}.Err()
			}
			addresses[n] = made
		}
		e.Addresses = append(e.Addresses, netip.PrefixFrom(addresses[n], subnet.CIDR.Bits()))
	}
	s.Endpoints = append(s.Endpoints, e)
	return e, nil
}

// next is the first address of a subnet that nobody has.
func (s *networkState) next(subnet network.Subnet) (netip.Addr, error) {
	for a := subnet.First; !subnet.Last.Less(a); a = a.Next() {
		if a != subnet.Gateway && !s.hasAddress(a) {
			return a, nil
		}
	}
	return netip.Addr{}, resource.Errorf(errdefs.ErrResourceExhausted, "no address is left in %s", subnet.CIDR)
}

func (s *networkState) hasMAC(mac network.HardwareAddr) bool {
	return slices.ContainsFunc(s.Endpoints, func(e endpointRecord) bool { return bytes.Equal(e.MAC, mac) })
}

func (s *networkState) hasAddress(a netip.Addr) bool {
	return slices.ContainsFunc(s.Endpoints, func(e endpointRecord) bool {
		return slices.ContainsFunc(e.Addresses, func(p netip.Prefix) bool { return p.Addr() == a })
	})
}

// remove takes an endpoint out.
func (s *networkState) remove(id string) {
	s.Endpoints = slices.DeleteFunc(slices.Clone(s.Endpoints), func(e endpointRecord) bool { return e.ID == id })
}
