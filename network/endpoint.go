package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/univirt/univirt/resource"
)

// Endpoint is a handle on one place in a network, bound to its ID.
type Endpoint interface {
	// ID returns the endpoint's identity. It makes no call.
	ID() string
	// Info reads the endpoint. One that is gone is NotFound.
	Info(ctx context.Context) (EndpointInfo, error)
	// Release gives up the endpoint's addresses and names. One that an instance has,
	// running or not, is FailedPrecondition, as far as the network knows of the
	// instance: another provider's may be beyond it, as EndpointInfo.PluggedIn says.
	// One that is gone is NotFound.
	Release(ctx context.Context) error
}

// EndpointSpec says what endpoint is wanted. Its canonical form is what
// resource.MarshalSpec writes for the kind resource.KindEndpoint.
type EndpointSpec struct {
	// Name is the host name under which the endpoint is found in the network's
	// zone; empty means none.
	Name string `json:"name,omitempty"`
	// Aliases are further names. Several endpoints may share one: a look-up
	// yields all of their addresses.
	Aliases []string `json:"aliases,omitempty"`
	// MAC is the hardware address, six bytes; empty lets the network choose.
	MAC HardwareAddr `json:"mac,omitempty"`
	// Addresses are fixed addresses, at most one a subnet; the subnets without
	// one assign theirs.
	Addresses []netip.Addr `json:"addresses,omitempty"`
	// For is the instance, of any provider, that the endpoint is meant for, which
	// need not exist yet: no other can be plugged in. It has a name or an ID; of the
	// fields that are empty nothing is asked. The zero value means any instance.
	// Where the provider has not FeatureReserve, another provider's instance is
	// errors.ErrUnsupported.
	For resource.Ref `json:"for,omitzero"`
}

// Validate reports every fault of the spec.
func (s EndpointSpec) Validate() resource.Faults {
	var faults resource.Faults
	if s.Name != "" {
		faults.AddReason("name", resource.CheckName(s.Name))
	}
	for i, alias := range s.Aliases {
		faults.AddReason(fmt.Sprintf("aliases[%d]", i), resource.CheckName(alias))
	}
	faults.AddReason("mac", CheckMAC(s.MAC))
	for i, a := range s.Addresses {
		faults.AddReason(fmt.Sprintf("addresses[%d]", i), CheckHostAddress(a))
	}
	switch {
	case s.For.IsZero():
	case s.For.Kind != "" && s.For.Kind != resource.KindInstance:
		faults.Add("for.kind", "must be %q", resource.KindInstance)
	case s.For.Name == "" && s.For.ID == "":
		faults.Add("for", "must have a name or an ID")
	}
	return faults
}

// HardwareAddr is a MAC address that is text in JSON.
type HardwareAddr net.HardwareAddr

// String returns the address in the form 02:00:00:00:00:01.
func (a HardwareAddr) String() string { return net.HardwareAddr(a).String() }

// Equal reports whether two addresses are the same.
func (a HardwareAddr) Equal(b HardwareAddr) bool { return bytes.Equal(a, b) }

// MarshalText encodes the address as text.
func (a HardwareAddr) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText decodes the address from text.
func (a *HardwareAddr) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*a = nil
		return nil
	}
	mac, err := net.ParseMAC(string(text))
	if err != nil {
		return errors.New("is no hardware address: " + resource.Quote(string(text)))
	}
	*a = HardwareAddr(mac)
	return nil
}

// CheckMAC says what is wrong with an instance's hardware address, or returns
// "". The empty address is right: it leaves the choice to the network.
func CheckMAC(mac HardwareAddr) string {
	switch {
	case len(mac) == 0:
	case len(mac) != 6:
		return "must have six bytes"
	case mac[0]&1 != 0:
		return "must not be a multicast address"
	case bytes.Equal(mac, make([]byte, 6)):
		return "must not be zero"
	}
	return ""
}

// CheckHostAddress says what is wrong with an address as one host's, or
// returns "".
func CheckHostAddress(a netip.Addr) string {
	switch {
	case !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.Zone() != "":
		return "must be a host's address without a zone"
	case a.Is4In6():
		return "must not be an IPv4-mapped IPv6 address"
	}
	return ""
}

// EndpointInfo is what is known of an endpoint.
type EndpointInfo struct {
	// Ref has the kind endpoint; its Name is the host name.
	Ref resource.Ref
	// Network is the network that the endpoint belongs to.
	Network resource.Ref
	// MAC is the hardware address.
	MAC HardwareAddr
	// Addresses are the addresses with the lengths of their subnets.
	Addresses []netip.Prefix
	// Source says how the addresses are known: "assigned" by the network, "lease"
	// where the guest has asked for what was assigned by DHCP, "agent" where the guest's
	// agent tells them, "arp" where the host has spoken with the guest; empty where there
	// are none.
	Source string
	// Reason says why there are no addresses yet.
	Reason string
	// Gateways are the subnets' gateways.
	Gateways []netip.Addr
	// Aliases are further names.
	Aliases []string
	// For is the instance that the endpoint is meant for.
	For resource.Ref
	// PluggedIn says that a running instance uses the endpoint. Of an instance of another
	// provider the network may not know; that instance's own Info tells.
	PluggedIn bool
	// Attachment is where a provider plugs an instance in.
	Attachment Attachment
}

// Admits reports whether the endpoint is meant for an instance: every field of For
// that is not empty is the instance's.
func (i EndpointInfo) Admits(instance resource.Ref) bool {
	is := func(want, have string) bool { return want == "" || want == have }
	return is(i.For.Provider, instance.Provider) && is(string(i.For.Kind), string(instance.Kind)) &&
		is(i.For.Namespace, instance.Namespace) && is(i.For.Name, instance.Name) && is(i.For.ID, instance.ID)
}

// Attachment is the point at which an endpoint is plugged in, in terms that
// any local provider understands.
type Attachment struct {
	// Bridge is the host's bridge to put a link's far end on; empty where the
	// network is not made of one.
	Bridge string
	// MTU is the link's, in bytes; 0 means what the host takes by itself.
	MTU int
}

// EndpointFilter says which endpoints are yielded: those that meet every field
// that is not zero.
type EndpointFilter struct {
	// For limits to endpoints of these instances, by ID.
	For []string
	// Names limits to endpoints of these host names.
	Names []string
}

// Matches reports whether the filter lets an endpoint through.
func (f EndpointFilter) Matches(info EndpointInfo) bool {
	return (len(f.For) == 0 || slices.Contains(f.For, info.For.ID)) &&
		(len(f.Names) == 0 || slices.Contains(f.Names, info.Ref.Name))
}
