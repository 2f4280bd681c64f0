package hostnet

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// NetworkSpec says what network is wanted.
type NetworkSpec struct {
	// ID is a UUID that the caller has chosen. Required.
	ID string
	// Namespace and Name are the caller's. Of networks with a name no two have the
	// same of both.
	Namespace, Name string
	// Data is the caller's own: owner, labels and whatever else it wants to find.
	Data []byte
	// Subnets are the address ranges. A gateway and bounds that are not set are chosen.
	Subnets []network.Subnet
	// ChooseIPv4 and ChooseIPv6 ask for a free range besides. Without any subnet, and
	// without Bridge, an IPv4 range is chosen.
	ChooseIPv4, ChooseIPv6 bool
	// External is network.Isolated by default. network.Routed is unsupported.
	External network.External
	// Bridge is the bridge to join where External is network.Bridged. It is never
	// changed, and subnets are those that others have on it.
	Bridge string
	// MTU in bytes; 0 is that of the way outside, at most 1500.
	MTU int
}

// Network is a network as its record says.
type Network struct {
	ID        string           `json:"id"`
	Namespace string           `json:"namespace,omitempty"`
	Name      string           `json:"name,omitempty"`
	Data      []byte           `json:"data,omitempty"`
	Subnets   []network.Subnet `json:"subnets,omitempty"`
	External  network.External `json:"external"`
	// Bridge is the bridge that the network is, or has joined.
	Bridge  string    `json:"bridge"`
	MTU     int       `json:"mtu"`
	Created time.Time `json:"created"`
	// Revision counts the changes.
	Revision int `json:"revision"`
	// Stage says what is being done; empty where the network is whole.
	Stage stage `json:"stage,omitempty"`
}

type stage string

const (
	creating stage = "creating"
	deleting stage = "deleting"
)

// Joined reports whether the network is part of a bridge of somebody else.
func (n Network) Joined() bool { return n.External == network.Bridged }

// Gateways returns the gateways of the subnets.
func (n Network) Gateways() []netip.Addr {
	var out []netip.Addr
	for _, s := range n.Subnets {
		out = append(out, s.Gateway)
	}
	return out
}

// validate refuses what can be seen to be wrong without looking at anything else.
func (s NetworkSpec) validate() error {
	var faults resource.Faults
	if !resource.IsID(s.ID) {
		faults.Add("id", "must be a UUID")
	}
	portable := network.Spec{Name: "any", Subnets: s.Subnets, External: s.External, Bridge: s.Bridge, MTU: s.MTU}
	faults.Under("", portable.Validate())
	if s.MTU != 0 && s.MTU < 1280 {
		for i, subnet := range s.Subnets {
			if subnet.CIDR.Addr().Is6() {
				faults.Add("mtu", "must be at least 1280 for subnets[%d], which is IPv6", i)
			}
		}
	}
	if s.External == network.Bridged && (s.ChooseIPv4 || s.ChooseIPv6) {
		faults.Add("subnets", "of a bridge that is joined cannot be chosen")
	}
	if err := faults.Err(); err != nil {
		return failed(errdefs.ErrInvalidArgument, faults[0].Field, "%w", err)
	}
	if s.External == network.Routed {
		e := resource.Unsupported(fmt.Sprintf("external %q", s.External), "")
		e.Field = "external"
		return e
	}
	return nil
}

// complete fills in what a subnet leaves open.
func complete(s network.Subnet) network.Subnet {
	own := s.CIDR.Masked().Addr()
	if !s.Gateway.IsValid() {
		s.Gateway = own.Next()
	}
	if !s.First.IsValid() {
		s.First = own.Next()
	}
	if !s.Last.IsValid() {
		s.Last = lastOf(s.CIDR)
		if own.Is4() {
			s.Last = s.Last.Prev()
		}
	}
	return s
}

// lastOf returns the last address of a range.
func lastOf(p netip.Prefix) netip.Addr {
	bytes := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(bytes)
	return last
}
