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
	fail := func(err error) (compute.Plan, error) {
		return compute.Plan{}, resource.Fail("plan", s.p.ref(resource.KindInstance, spec.Name, ""), err)
	}
	if err := s.p.open(ctx); err != nil {
		return fail(err)
	}
	if err := checkImage(spec).Err(); err != nil {
		return fail(err)
	}
	text, err := compute.Encode(completed(spec))
	if err != nil {
		return fail(err)
	}
	var pretty json.RawMessage = text
	native, err := json.MarshalIndent(pretty, "", "  ")
	if err != nil {
		return fail(err)
	}
	return compute.Plan{
		Provider: Scheme,
		Format:   "fake-spec",
		Native:   native,
		Gaps:     s.p.backend.gapsOf(&spec),
	}, nil
}
