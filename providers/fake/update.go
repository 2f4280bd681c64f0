package fake

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// Update changes what can be changed of an instance. Resources of a running
// container change at once. So do those of a virtual machine whose guest answers:
// the processors up to four times those that the run began with, and up to eight at
// least, the memory within what it began with. The rest waits for its next start.
func (h *handle) Update(ctx context.Context, change compute.Change) error {
	err := h.p.open(ctx)
	if err == nil {
		err = change.Validate().Err()
	}
	if err != nil {
		return h.fail(OpUpdate, err)
	}
	return h.change(ctx, OpUpdate, compute.OpUpdate, change.IfRevision, func(i *instance, _ compute.Transition) error {
		return i.update(change)
	})
}

// update makes a change. The backend is locked.
func (i *instance) update(change compute.Change) error {
	if err := i.space.backend.changesOf(i.spec.Kind).Refuse(&change); err != nil {
		return err
	}
	spec := change.To(*i.spec)
	if err := checkValues(spec).Err(); err != nil {
		return err
	}
	limits, pending, err := i.limitsAfter(change, &spec)
	if err != nil {
		return err
	}
	same := len(resource.Diff(*i.spec, spec)) == 0
	if same && slices.Equal(pending, i.pending()) {
		return nil
	}
	if limits != nil {
		b := i.space.backend
		b.vacate(i.run.limits)
		if err := b.occupy(limits); err != nil {
			b.reoccupy(i.run.limits)
			return err
		}
		i.run.settle(time.Now())
		i.run.limits = limits
	}
	i.postpone(pending)
	i.revision++
	if same {
		// What waited has taken effect.
		i.space.emit(i, resource.EventChanged, resource.ReasonUpdate)
		return nil
	}
	was := i.labels
	i.space.backend.sharing.spec(&spec)
	i.spec = &spec
	i.annotations = spec.Annotations
	i.space.instances.relabel(i, spec.Labels)
	i.space.emitRelabeled(i, resource.EventChanged, resource.ReasonUpdate, was, true)
	return nil
}

// limitsAfter works out what the run under way is limited to from now on (nil
// where nothing changes for it) and what waits for the next start.
func (i *instance) limitsAfter(change compute.Change, spec *compute.Spec) (*compute.Resources, []string, error) {
	r := i.run
	if change.Resources == nil {
		return nil, i.pending(), nil
	}
	running := r != nil && !r.over && i.state != compute.Suspended
	if !running {
		if change.Apply == compute.ApplyLive {
			return nil, nil, &resource.Error{Kind: errdefs.ErrFailedPrecondition, Field: "apply",
				Err: fmt.Errorf("the instance is %s, and nothing can be changed live", i.state)}
		}
		var pending []string
		if r != nil && !r.over {
			pending = under("resources", resource.Diff(*r.limits, spec.Resources))
		}
		return nil, pending, nil
	}
	live := spec.Resources
	if change.Apply == compute.ApplyNextStart || !i.features().Has(compute.FeatureUpdateLive) {
		live = *r.limits
	}
	if i.spec.Kind == compute.VM {
		r.hold(&live, i.state)
	}
	pending := resource.Diff(live, spec.Resources)
	if len(pending) > 0 && change.Apply == compute.ApplyLive {
		return nil, nil, &resource.Error{Kind: errdefs.ErrFailedPrecondition, Field: "resources." + pending[0],
			Err: fmt.Errorf("a running %s takes it at its next start", i.spec.Kind)}
	}
	if limit := live.Memory + live.Swap; live.Memory > 0 && r.memory > limit {
		return nil, nil, &resource.Error{Kind: errdefs.ErrFailedPrecondition, Field: "resources.memory",
			Err: fmt.Errorf("%s are in use", resource.FormatSize(r.memory))}
	}
	return &live, under("resources", pending), nil
}

// hold leaves a running virtual machine what it has where it cannot be given what is
// wanted.
func (r *run) hold(wanted *compute.Resources, state compute.State) {
	has, begun := r.limits, r.begun
	answers := r.ready && state == compute.Running
	if room := max(leastRoom, roomFactor*max(begun.CPUs, 1)); !answers || wanted.CPUs == 0 || wanted.CPUs > room {
		wanted.CPUs = has.CPUs
	}
	if !answers || wanted.Memory == 0 || wanted.Memory > begun.Memory {
		wanted.Memory = has.Memory
	}
	wanted.MemoryReservation, wanted.Swap = has.MemoryReservation, has.Swap
}

// roomFactor is how many times the processors that its run began with a virtual machine
// has room for, and leastRoom what the smallest has room for.
const (
	roomFactor = 4
	leastRoom  = 8
)

func under(field string, paths []string) []string {
	out := slices.Clone(paths)
	for n := range out {
		out[n] = field + "." + out[n]
	}
	return out
}
