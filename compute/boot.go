package compute

import (
	"github.com/univirt/univirt/resource"
)

// CloudInit is data for cloud-init (https://cloudinit.readthedocs.io), handed
// over as a NoCloud seed.
type CloudInit struct {
	// UserData, MetaData and NetworkConfig are the documents as cloud-init reads
	// them; an empty one is made by the provider. User data often holds
	// passwords, so it is a secret.
	UserData      resource.Secret `json:"userData,omitzero"`
	MetaData      string          `json:"metaData,omitempty"`
	NetworkConfig string          `json:"networkConfig,omitempty"`
}

// Boot says how a virtual machine boots.
type Boot struct {
	// Kernel and Initrd are files of the host, or of the hypervisor's host;
	// empty boots from the disk.
	Kernel string `json:"kernel,omitempty"`
	Initrd string `json:"initrd,omitempty"`
	// CommandLine is the kernel's; it needs Kernel.
	CommandLine string `json:"commandLine,omitempty"`
	// Firmware is FirmwareBIOS or FirmwareUEFI; empty lets the provider choose.
	Firmware Firmware `json:"firmware,omitempty"`
	// Machine is the hypervisor's machine type, such as "q35".
	Machine string `json:"machine,omitempty"`
}

// Firmware is what starts a virtual machine.
type Firmware string

// The kinds of firmware.
const (
	FirmwareBIOS Firmware = "bios"
	FirmwareUEFI Firmware = "uefi"
)
