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

// applyNetworks gives the domain a network card for each network.
func applyNetworks(d *libvirtxml.Domain, uses []netUse) {
	for _, use := range uses {
		d.Devices.Interfaces = append(d.Devices.Interfaces, libvirtxml.DomainInterface{
			MAC:    &libvirtxml.DomainInterfaceMAC{Address: use.MAC},
			Source: &libvirtxml.DomainInterfaceSource{Network: &libvirtxml.DomainInterfaceSourceNetwork{Network: use.Libvirt}},
			Model:  &libvirtxml.DomainInterfaceModel{Type: "virtio"},
		})
	}
}
