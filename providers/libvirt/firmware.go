package libvirt

import (
	"errors"
	"slices"

	"github.com/containerd/errdefs"
	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// firmware is what the hypervisor starts a machine with where the spec does not
// say: what machines of its kind have always had.
func (h hypervisor) firmware() compute.Firmware {
	switch {
	case h.virtType == "test":
		return ""
	case h.isPC():
		return compute.FirmwareBIOS
	}
	return compute.FirmwareUEFI
}

// isPC reports whether machines are of the kind that a BIOS is for.
func (h hypervisor) isPC() bool { return h.arch == "x86_64" || h.arch == "i686" }

// applyFirmware has libvirt look for the firmware. Of UEFI that without secure boot
// is taken: the other refuses kernels that nobody signed.
func applyFirmware(d *libvirtxml.Domain, firmware compute.Firmware) {
	if firmware != compute.FirmwareUEFI {
		return
	}
	d.OS.Firmware = "efi"
	d.OS.FirmwareInfo = &libvirtxml.DomainOSFirmwareInfo{
		Features: []libvirtxml.DomainOSFirmwareFeature{{Enabled: "no", Name: "secure-boot"}},
	}
}

// offersUEFI finds out from what a hypervisor can do with domains whether UEFI is
// there.
func offersUEFI(description string) error {
	var caps libvirtxml.DomainCaps
	if err := caps.Unmarshal(description); err != nil {
		return resource.Errorf(nil, "the hypervisor's capabilities cannot be read: %w", err)
	}
	there := caps.OS != nil && slices.ContainsFunc(caps.OS.Enums, func(e libvirtxml.DomainCapsEnum) bool {
		return e.Name == "firmware" && slices.Contains(e.Values, "efi")
	})
	if !there {
		return &resource.Error{
			Kind: errdefs.ErrFailedPrecondition, Field: "boot.firmware",
			Err: errors.New("the hypervisor's host has no UEFI for its machines, which is Debian's package ovmf"),
		}
	}
	return nil
}
