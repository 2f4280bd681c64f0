package fake

import (
	"context"

	"github.com/univirt/univirt/compute"
)

var _ compute.GuestReporter = (*handle)(nil)

// Guest tells of a guest that has the hostname of its spec and a system called fake.
func (h *handle) Guest(ctx context.Context) (compute.GuestInfo, error) {
	if err := h.p.open(ctx); err != nil {
		return compute.GuestInfo{}, h.fail(OpGuest, err)
	}
	var out compute.GuestInfo
	err := h.use(ctx, OpGuest, compute.OpExec, func(i *instance) error {
		if err := h.p.lively(ctx, i, compute.OpExec); err != nil {
			return err
		}
		if _, err := i.alive(); err != nil {
			return err
		}
		out = compute.GuestInfo{
			Hostname: i.spec.Hostname, OS: "fake", OSName: "Fake", OSVersion: "1", Kernel: "1.0-fake", Architecture: "fake",
		}
		return nil
	})
	return out, err
}
