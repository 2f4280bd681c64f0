package containerd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/callbacks"
	"github.com/univirt/univirt/resource"
)

var _ compute.Planner = instances{}

// plannedID stands for the identity that a plan's instance would get.
const plannedID = "00000000-0000-0000-0000-000000000000"

// Plan implements compute.Planner: it returns the OCI runtime spec. The image
// must be there. A user that is given by name, and was not looked up in the image
// before, stands as that name, because looking it up needs a root filesystem.
func (s instances) Plan(ctx context.Context, spec compute.Spec) (compute.Plan, error) {
	ref := s.p.ref(resource.KindInstance, spec.Name, "")
	ctx, done, err := s.p.begin(ctx)
	if err != nil {
		return compute.Plan{}, resource.Fail("plan", ref, err)
	}
	defer done()
	plan, err := s.plan(ctx, spec)
	if err != nil {
		return compute.Plan{}, resource.Fail("plan", ref, err)
	}
	return plan, nil
}

func (s instances) plan(ctx context.Context, spec compute.Spec) (compute.Plan, error) {
	if err := checkValues(spec); err != nil {
		return compute.Plan{}, err
	}
	image, err := s.p.images.resolve(ctx, spec.Image, compute.PullNever)
	if err != nil {
		return compute.Plan{}, err
	}
	chosen := withChoices(spec, image.Config)
	user, err := s.p.plannedUser(image, cmp.Or(chosen.Process.User, image.Config.User))
	if err != nil {
		return compute.Plan{}, err
	}
	runtime, err := callbacks.Run(s.p.alive, translation{
		id: plannedID, space: s.p.space, spec: chosen, image: image.Config, user: user, host: s.p.host,
	}.runtimeSpec)
	if err != nil {
		return compute.Plan{}, err
	}
	text, err := json.MarshalIndent(runtime, "", "  ")
	if err != nil {
		return compute.Plan{}, err
	}
	return compute.Plan{Provider: Scheme, Format: "oci-runtime-spec", Native: text, Gaps: s.p.kind.Fields.Gaps(spec)}, nil
}

// plannedUser resolves a user without looking into a root filesystem.
func (p *Provider) plannedUser(image resolvedImage, name string) (specs.User, error) {
	p.users.mu.Lock()
	known, found := p.users.byChain[image.ChainID]
	p.users.mu.Unlock()
	user, err := known.user(name)
	if err != nil && !found && errors.As(err, new(*resource.Error)) {
		return specs.User{Username: name}, nil
	}
	return user, err
}
