//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"

	"github.com/containerd/errdefs"
	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// checkFirmware finds out whether the hypervisor has the firmware of a spec.
// Libvirt would tell with the first start only, or not clearly.
func (p *Provider) checkFirmware(ctx context.Context, boot *compute.Boot) error {
	switch {
	case boot.Firmware == compute.FirmwareBIOS && !p.hyper.isPC():
		return &resource.Error{Kind: errdefs.ErrFailedPrecondition, Field: "boot.firmware", Err: errors.New("machines of the architecture " + p.hyper.arch + " have no BIOS")}
	case boot.Firmware != compute.FirmwareUEFI:
		return nil
	}
	text, err := call(ctx, p, func(c *lv.Connect) (string, error) {
		return c.GetDomainCapabilities("", p.hyper.arch, boot.Machine, p.hyper.virtType, 0)
	})
	if err != nil {
		return atField("boot.machine", err)
	}
	return offersUEFI(text)
}
