package hostnet

import (
	"context"

	"github.com/containerd/errdefs"
)

// Repair makes the kernel have what the records say: bridges, addresses, rules and the
// bridges of links. Where all is there it changes nothing but writes the rules anew,
// which no packet notices. What is unfinished is left to Sweep.
func (h *Host) Repair(ctx context.Context) error {
	lock, err := h.changing(ctx)
	if err != nil {
		return err
	}
	defer lock.Release()
	return h.repair(ctx)
}

func (h *Host) repair(ctx context.Context) error {
	records, err := h.all()
	if err != nil {
		return err
	}
	if err := h.kernel.apply(records); err != nil {
		return err
	}
	var whole []Network
	for _, n := range records {
		if n.Stage == "" {
			whole = append(whole, n)
		}
	}
	if err := h.kernel.ensure(whole); err != nil {
		return err
	}
	links, err := h.kernel.links()
	if err != nil {
		return err
	}
	on := map[string]string{}
	for _, l := range links {
		on[l.name] = l.master
	}
	for _, n := range whole {
		ids, err := h.endpointIDs(n.ID)
		if err != nil {
			return err
		}
		for _, id := range ids {
			name := h.endpointName(id)
			if master, plugged := on[name]; plugged && master != n.Bridge {
				// A link can go at any moment, with its instance.
				if err := h.kernel.join(name, n.Bridge); err != nil && !errdefs.IsNotFound(err) {
					return err
				}
			}
		}
	}
	return ctx.Err()
}
