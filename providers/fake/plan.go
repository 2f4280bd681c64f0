package fake

import (
	"context"
	"encoding/json"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

var _ compute.Planner = instances{}

// Plan returns the spec with the provider's choices filled in, as indented JSON
// of the format "fake-spec": that is all that the fake makes of it.
func (s instances) Plan(ctx context.Context, spec compute.Spec) (compute.Plan, error) {
	ref := s.p.ref(resource.KindInstance, spec.Name, "")
	err := firstOf(s.p.open(ctx), s.p.backend.offers.refuses(OpPlan, kindOf(spec)))
	if err == nil {
		err = checkValues(spec).Err()
	}
	var c call
	if err == nil {
		c, err = s.p.reach(ctx, OpPlan, target{ref: ref, labels: spec.Labels, kind: kindOf(spec)})
	}
	var text json.RawMessage
	if err == nil {
		text, err = compute.Encode(completed(spec))
	}
	var native []byte
	if err == nil {
		native, err = json.MarshalIndent(text, "", "  ")
	}
	if err := c.done(err); err != nil {
		return compute.Plan{}, resource.Fail(OpPlan.verb(), ref, err)
	}
	return compute.Plan{
		Provider: Scheme,
		Format:   "fake-spec",
		Native:   native,
		Gaps:     s.p.backend.gapsOf(&spec),
	}, nil
}
