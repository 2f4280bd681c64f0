package compute

import (
	"net/netip"

	"github.com/univirt/univirt/network"
)

// NetworkMode replaces the attachments to networks.
type NetworkMode string

// The network modes.
const (
	// NetworkAttached uses Spec.Networks. The default.
	NetworkAttached NetworkMode = ""
	// NetworkNone gives the instance no network but its loopback.
	NetworkNone NetworkMode = "none"
	// NetworkHost shares the host's network; containers only.
	NetworkHost NetworkMode = "host"
)

// NetworkAttachment plugs an instance into a network.
type NetworkAttachment struct {
	// Network is a network's name or ID. Required, unless Endpoint is set.
	Network string `json:"network,omitempty"`
	// Endpoint is the ID of an endpoint that was reserved before, perhaps on
	// another provider's network, where the options of this one's provider name that;
	// its own address, names and MAC are used, and it stays reserved when the instance
	// is gone. One that is not there is NotFound; one that another instance has, that is
	// not meant for this one, or whose network has nothing to plug this one in is
	// FailedPrecondition.
	Endpoint string `json:"endpoint,omitempty"`
	// MAC is the fixed hardware address; empty lets the network choose.
	MAC network.HardwareAddr `json:"mac,omitempty"`
	// Addresses are fixed addresses, at most one a subnet.
	Addresses []netip.Addr `json:"addresses,omitempty"`
	// Aliases are further names on the network; several instances may share one.
	Aliases []string `json:"aliases,omitempty"`
}

// DNS replaces the name resolution inside an instance.
type DNS struct {
	// Servers, Search and Options are those of resolv.conf(5).
	Servers []netip.Addr `json:"servers,omitempty"`
	Search  []string     `json:"search,omitempty"`
	Options []string     `json:"options,omitempty"`
	// Hosts are added to the instance's hosts file.
	Hosts map[string]netip.Addr `json:"hosts,omitempty"`
}
