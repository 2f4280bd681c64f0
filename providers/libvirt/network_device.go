package libvirt

import "libvirt.org/go/libvirtxml"

// netUse is what an instance's record says of a network that it is on.
type netUse struct {
	// Network and Endpoint are IDs, and Libvirt the network's name there.
	Network  string `json:"network"`
	Libvirt  string `json:"libvirt"`
	Endpoint string `json:"endpoint"`
	MAC      string `json:"mac"`
}

// card is the network card of a machine.
func (u netUse) card() libvirtxml.DomainInterface {
	return libvirtxml.DomainInterface{
		MAC:    &libvirtxml.DomainInterfaceMAC{Address: u.MAC},
		Source: &libvirtxml.DomainInterfaceSource{Network: &libvirtxml.DomainInterfaceSourceNetwork{Network: u.Libvirt}},
		Model:  &libvirtxml.DomainInterfaceModel{Type: "virtio"},
	}
}

// isCard reports whether that is the card.
func (u netUse) isCard(i libvirtxml.DomainInterface) bool {
	return i.MAC != nil && i.MAC.Address == u.MAC && i.Source != nil && i.Source.Network != nil && i.Source.Network.Network == u.Libvirt
}

// applyNetworks gives the domain a network card for each network.
func applyNetworks(d *libvirtxml.Domain, uses []netUse) {
	for _, use := range uses {
		d.Devices.Interfaces = append(d.Devices.Interfaces, use.card())
	}
}
