package compute

import (
	"context"

	"github.com/univirt/univirt/resource"
)

// Planner is a provider's Instances that can show what Create would do.
type Planner interface {
	Instances
	// Plan returns what the spec means to the backend, without applying it. It
	// changes nothing and fails as Create would for a spec with faults, but a
	// field that the provider refuses is a gap of the plan, not an error.
	Plan(ctx context.Context, spec Spec) (Plan, error)
}

// Plan is what a spec means to a backend.
type Plan struct {
	// Provider is the scheme of the provider.
	Provider string
	// Format names the artefact's format, such as "oci-runtime-spec".
	Format string
	// Native is the artefact itself, as text. It holds no secrets.
	Native []byte
	// Gaps are the fields of the spec that the provider refuses or takes as
	// hints. Create succeeds only where none is refused.
	Gaps []resource.Gap
}

// PlanOf returns what a spec means to a backend; errors.ErrUnsupported where the
// provider cannot say.
func PlanOf(ctx context.Context, instances Instances, spec Spec) (Plan, error) {
	p, ok := resource.As[Planner](instances)
	if !ok {
		return Plan{}, resource.Fail("plan", resource.Ref{Kind: resource.KindInstance, Name: spec.Name}, resource.Unsupported("plan", ""))
	}
	return p.Plan(ctx, spec)
}
