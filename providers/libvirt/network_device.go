package libvirt

import (
	"net/netip"

	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// netUse is what an instance's record says of a network that it is on.
type netUse struct {
	// Network and Endpoint are IDs, and Libvirt the network's name there.
	Network  string `json:"network"`
	Libvirt  string `json:"libvirt,omitempty"`
	Endpoint string `json:"endpoint"`
	MAC      string `json:"mac"`
	// Other is set where the network is another provider's, and Libvirt is empty then.
	Other *otherEndpoint `json:"other,omitempty"`
}

// otherEndpoint is what an instance's record says of an endpoint of another provider's
// network: all that its card is made of, and what is told where that provider is not
// there to tell it.
type otherEndpoint struct {
	Ref       resource.Ref   `json:"ref"`
	Network   resource.Ref   `json:"network"`
	Bridge    string         `json:"bridge"`
	MTU       int            `json:"mtu,omitempty"`
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	Gateways  []netip.Addr   `json:"gateways,omitempty"`
	Aliases   []string       `json:"aliases,omitempty"`
	For       resource.Ref   `json:"for,omitzero"`
}

// useOf is the use of an endpoint of another provider's network.
func useOf(info network.EndpointInfo) netUse {
	return netUse{
		Network: info.Network.ID, Endpoint: info.Ref.ID, MAC: info.MAC.String(),
		Other: &otherEndpoint{
			Ref: info.Ref, Network: info.Network, Bridge: info.Attachment.Bridge, MTU: info.Attachment.MTU,
			Addresses: info.Addresses, Gateways: info.Gateways, Aliases: info.Aliases, For: info.For,
		},
	}
}

// recorded is an endpoint of another provider's network as the record knows it.
func (u netUse) recorded() network.EndpointInfo {
	o := u.Other
	info := network.EndpointInfo{
		Ref: o.Ref, Network: o.Network, Addresses: o.Addresses, Gateways: o.Gateways, Aliases: o.Aliases, For: o.For,
		Attachment: network.Attachment{Bridge: o.Bridge, MTU: o.MTU},
	}
	_ = info.MAC.UnmarshalText([]byte(u.MAC)) // what was written here is one
	if len(info.Addresses) > 0 {
		info.Source = "assigned"
	} else {
		info.Reason = "addresses are given by others on another provider's network"
	}
	return info
}

// card is the network card of a machine.
func (u netUse) card() libvirtxml.DomainInterface {
	card := libvirtxml.DomainInterface{
		MAC:    &libvirtxml.DomainInterfaceMAC{Address: u.MAC},
		Source: &libvirtxml.DomainInterfaceSource{Network: &libvirtxml.DomainInterfaceSourceNetwork{Network: u.Libvirt}},
		Model:  &libvirtxml.DomainInterfaceModel{Type: "virtio"},
	}
	if u.Other != nil {
		card.Source = &libvirtxml.DomainInterfaceSource{Bridge: &libvirtxml.DomainInterfaceSourceBridge{Bridge: u.Other.Bridge}}
		if u.Other.MTU > 0 {
			card.MTU = &libvirtxml.DomainInterfaceMTU{Size: uint(u.Other.MTU)}
		}
	}
	return card
}

// isCard reports whether that is the card.
func (u netUse) isCard(i libvirtxml.DomainInterface) bool {
	switch {
	case i.MAC == nil || i.MAC.Address != u.MAC || i.Source == nil:
		return false
	case u.Other != nil:
		return i.Source.Bridge != nil && i.Source.Bridge.Bridge == u.Other.Bridge
	}
	return i.Source.Network != nil && i.Source.Network.Network == u.Libvirt
}

// applyNetworks gives the domain a network card for each network.
func applyNetworks(d *libvirtxml.Domain, uses []netUse) {
	for _, use := range uses {
		d.Devices.Interfaces = append(d.Devices.Interfaces, use.card())
	}
}
