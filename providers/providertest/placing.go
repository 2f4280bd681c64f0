package providertest

import (
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// placementCases are about what chooses among hosts. That a field which is not
// declared is refused is the matter of the field cases.
func placementCases() []testCase {
	required := fields("placement.required")
	return []testCase{
		{"A placement that cannot be met is only a wish", wishes("placement.zone", "placement.hosts"), placementWish},
		{"A plan tells of a wish that may have no effect", all(has(compute.FeaturePlan), wishes("placement.zone")), placementGap},
		{"A placement that is required and cannot be met is ResourceExhausted, names the field, and creates nothing",
			all(required, wishes("placement.zone", "placement.hosts")), placementUnmet},
		{"What is required to be near others is made where it can be", all(required, wishes("placement.near"), fields("labels")), placementNear},
		{"What is required to be apart from others is not made beside the last of them",
			all(required, wishes("placement.apart"), fields("labels")), placementApart},
		{"A name that a required placement has failed is free", all(required, wishes("placement.zone")), placementNameFree},
	}
}

// unmetPlacements are wishes that no host meets, by the field at fault.
func unmetPlacements() map[string]compute.Placement {
	return map[string]compute.Placement{
		"placement.zone":  {Zone: "no-such-zone"},
		"placement.hosts": {Hosts: resource.Select(resource.Exists("no-such-label"))},
	}
}

func placementWish(e *env) {
	for field, wish := range unmetPlacements() {
		spec := e.spec("web", "sleep", "1h")
		spec.Placement = wish
		inst := e.create(spec)
		require.Equal(e, wish, e.info(inst).Spec.Placement, "what Info tells of %s", field)
		e.start(inst)
		e.delete(inst)
	}
}

func placementGap(e *env) {
	rule := e.s.offer.kindDescription().Fields.Rule("placement.zone")
	spec := e.spec("web", "sleep", "1h")
	spec.Placement.Zone = "no-such-zone"
	p, err := compute.PlanOf(e.ctx, e.instances(), spec)
	require.NoError(e, err)
	if rule.Level == resource.FieldHonored {
		require.Empty(e, p.Gaps)
		return
	}
	require.Equal(e, []resource.Gap{{Field: "placement.zone", Level: rule.Level, Reason: rule.Reason}}, p.Gaps)
}

func placementUnmet(e *env) {
	for field, wish := range unmetPlacements() {
		spec := e.spec("web", "sleep", "1h")
		spec.Placement = wish
		spec.Placement.Required = true
		_, err := e.instances().Create(e.ctx, spec)
		re := e.failsField(err, errdefs.ErrResourceExhausted, field)
		require.Equal(e, "create", re.Op)
		require.Empty(e, e.names(e.instances(), compute.Filter{}))
	}
}

func placementNear(e *env) {
	spec := e.spec("db", "sleep", "1h")
	spec.Labels = resource.Labels{"tier": "db"}
	e.create(spec)
	spec = e.spec("web", "sleep", "1h")
	spec.Placement = compute.Placement{Near: resource.Select(resource.Equals("tier", "db")), Required: true}
	e.start(e.create(spec))
}

// placementApart makes instances that must not share a host until there are no
// hosts left. With one host that is the second, and no provider has endless ones.
func placementApart(e *env) {
	const most = 1000
	spec := e.spec("db-0", "sleep", "1h")
	spec.Labels = resource.Labels{"tier": "db"}
	spec.Placement = compute.Placement{Apart: resource.Select(resource.Equals("tier", "db")), Required: true}
	e.create(spec)
	for range most {
		spec.Name = "db-" + resource.NewID()[:8]
		_, err := e.instances().Create(e.ctx, spec)
		if err == nil {
			continue
		}
		e.failsField(err, errdefs.ErrResourceExhausted, "placement.apart")
		require.NotContains(e, e.names(e.instances(), compute.Filter{}), spec.Name)
		return
	}
	require.Fail(e, "every instance found a host of its own")
}

func placementNameFree(e *env) {
	spec := e.spec("web", "sleep", "1h")
	spec.Placement = compute.Placement{Zone: "no-such-zone", Required: true}
	_, err := e.instances().Create(e.ctx, spec)
	e.fails(err, errdefs.ErrResourceExhausted)
	e.start(e.stopped("web"))
}
