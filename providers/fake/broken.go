package fake

import (
	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// Break brings an instance into a state that no operation leads to: compute.Failed,
// which ends its run and leaves only Delete, or compute.Unknown, in which the
// backend cannot say what it does. The reason stands in Info.
func (p *Provider) Break(idOrName string, state compute.State, reason string) error {
	b := p.backend
	b.mu.Lock()
	defer b.mu.Unlock()
	fail := func(err error) error {
		return resource.Fail("break", p.asked(resource.KindInstance, idOrName), err)
	}
	i, ok := p.space.instances.find(idOrName)
	switch {
	case !ok:
		return fail(errNoInstance)
	case state != compute.Failed && state != compute.Unknown:
		return fail(resource.Faults{{Field: "state", Reason: "must be failed or unknown"}})
	case i.making || i.turn.taken:
		return fail(resource.Errorf(errdefs.ErrFailedPrecondition, "something is being done to the instance"))
	}
	i.state = state
	i.more().reason = reason
	if r := i.run; state == compute.Failed && r != nil && !r.over {
		r.thaw(r.cpuAt)
		r.force("crashed")
	}
	i.space.emit(i, resource.EventChanged, resource.ReasonFail)
	return nil
}
