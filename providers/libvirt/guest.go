//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

var _ compute.GuestReporter = (*instance)(nil)

// Guest implements compute.GuestReporter, where something in the guest answers. An
// agent that knows one of the questions tells that alone.
func (i *instance) Guest(ctx context.Context) (compute.GuestInfo, error) {
	ctx, done, err := i.p.begin(ctx)
	if err != nil {
		return compute.GuestInfo{}, i.fail("guest", err)
	}
	defer done()
	if i.p.inProcess() {
		return compute.GuestInfo{}, i.fail("guest", resource.Unsupported("guest", noGuests))
	}
	if err := i.reach(ctx); err != nil {
		return compute.GuestInfo{}, i.fail("guest", err)
	}
	a := qemuAgent{p: i.p, id: i.id}
	name, err := askFor[hostnameReply](ctx, a, "guest-get-host-name", nil)
	var system systemReply
	if nameless := errors.Is(err, errRefused); err == nil || nameless {
		system, err = askFor[systemReply](ctx, a, "guest-get-osinfo", nil)
		if errors.Is(err, errRefused) && !nameless {
			err = nil
		}
	}
	if err != nil {
		return compute.GuestInfo{}, i.fail("guest", err)
	}
	return told(name, system), nil
}
