package fake

import (
	"errors"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// place says whether an instance may be where its spec requires it to be. The
// fake is one host, without a zone and without labels: what is near is there, and
// what is apart is not. The backend is locked.
func (s *space) place(wish compute.Placement) error {
	unmet := func(field, reason string) error {
		return &resource.Error{Kind: errdefs.ErrResourceExhausted, Field: "placement." + field, Err: errors.New(reason)}
	}
	switch {
	case !wish.Required:
		return nil
	case wish.Zone != "":
		return unmet("zone", "the only host is in no zone")
	case !wish.Hosts.Matches(nil):
		return unmet("hosts", "the only host has no labels")
	case !wish.Apart.IsZero() && len(s.instances.selects(selection{selector: wish.Apart})) > 0:
		return unmet("apart", "such instances are on the only host")
	}
	return nil
}
