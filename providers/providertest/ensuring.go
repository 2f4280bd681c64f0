package providertest

import (
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

func ensureCases() []testCase {
	return []testCase{
		{"Ensure creates what is not there, and does not start it", nil, ensureCreates},
		{"Ensure of what is there as wished changes nothing", nil, ensureTwice},
		{"Ensure leaves a field alone that is zero in the spec", changes("labels"), ensureLeavesZero},
		{"Ensure changes what Update can change", changes("labels"), ensureChanges},
		{"Ensure changes resources and keeps those that are zero in the spec", changes("resources.memory", "resources.pids"), ensureResources},
		{"Ensure is FailedPrecondition where another field differs, and names it", fields("process.command"), ensureImmutable},
		{"Ensure takes another spelling of the image's name for the same", hook("Image"), ensureImage},
		{"Ensure from many places at once makes one instance", nil, ensureRace},
		{"EnsureImage returns what is there", hook("Image"), ensureImageThere},
	}
}

func ensureCreates(e *env) {
	inst, err := compute.Ensure(e.ctx, e.instances(), e.spec("web", "sleep", "1h"))
	require.NoError(e, err)
	e.inState(inst, compute.Stopped)
}

func ensureTwice(e *env) {
	spec := e.spec("web", "sleep", "1h")
	first, err := compute.Ensure(e.ctx, e.instances(), spec)
	require.NoError(e, err)
	e.start(first)
	before := e.info(first)
	second, err := compute.Ensure(e.ctx, e.instances(), spec)
	require.NoError(e, err)
	require.Equal(e, first.ID(), second.ID())
	require.Equal(e, before.Revision, e.info(second).Revision)
	require.Equal(e, before.Run, e.info(second).Run)
}

func ensureLeavesZero(e *env) {
	spec := e.spec("web", "sleep", "1h")
	spec.Labels = resource.Labels{"tier": "web"}
	e.create(spec)
	spec.Labels = nil
	inst, err := compute.Ensure(e.ctx, e.instances(), spec)
	require.NoError(e, err)
	require.Equal(e, resource.Labels{"tier": "web"}, e.info(inst).Labels)
}

func ensureChanges(e *env) {
	spec := e.spec("web", "sleep", "1h")
	spec.Labels = resource.Labels{"tier": "web", "zone": "x"}
	id := e.create(spec).ID()
	spec.Labels = resource.Labels{"tier": "db"}
	inst, err := compute.Ensure(e.ctx, e.instances(), spec)
	require.NoError(e, err)
	require.Equal(e, id, inst.ID())
	require.Equal(e, resource.Labels{"tier": "db", "zone": "x"}, e.info(inst).Labels)
}

func ensureResources(e *env) {
	spec := e.spec("web", "sleep", "1h")
	spec.Resources = compute.Resources{Memory: smallMemory, PIDs: 50}
	e.create(spec)
	spec.Resources = compute.Resources{Memory: largeMemory}
	inst, err := compute.Ensure(e.ctx, e.instances(), spec)
	require.NoError(e, err)
	have := e.info(inst).Spec.Resources
	require.Equal(e, largeMemory, have.Memory)
	require.Equal(e, int64(50), have.PIDs)
}

func ensureImmutable(e *env) {
	inst := e.stopped("web")
	before := e.info(inst)
	spec := e.spec("web", "sleep", "2h")
	_, err := compute.Ensure(e.ctx, e.instances(), spec)
	e.failsField(err, errdefs.ErrFailedPrecondition, "process.command")
	require.Equal(e, before, e.info(inst))
}

func ensureImage(e *env) {
	inst := e.stopped("web")
	reference, err := compute.ParseImageReference(e.s.h.Image)
	require.NoError(e, err)
	for _, image := range []string{reference.String(), e.info(inst).Image.ID} {
		spec := e.spec("web", "sleep", "1h")
		spec.Image = image
		got, err := compute.Ensure(e.ctx, e.instances(), spec)
		require.NoError(e, err, image)
		require.Equal(e, inst.ID(), got.ID())
	}
	spec := e.spec("web", "sleep", "1h")
	spec.Image = "docker.io/library/other:1"
	_, err = compute.Ensure(e.ctx, e.instances(), spec)
	require.Error(e, err, "another image")
}

func ensureRace(e *env) {
	other := e.open(OpenOptions{})
	ids := make([]string, crowd)
	errs := e.together(crowd, func(i int) error {
		instances := e.instances()
		if i%2 == 1 {
			instances = other.Instances()
		}
		inst, err := compute.Ensure(e.ctx, instances, e.spec("web", "sleep", "1h"))
		if err == nil {
			ids[i] = inst.ID()
		}
		return err
	})
	for i, err := range errs {
		require.NoError(e, err)
		require.Equal(e, ids[0], ids[i])
	}
	require.Equal(e, []string{"web"}, e.names(e.instances(), compute.Filter{}))
}

func ensureImageThere(e *env) {
	image, err := compute.EnsureImage(e.ctx, e.p.Images(), e.s.h.Image, compute.PullOptions{})
	require.NoError(e, err)
	require.NotEmpty(e, image.Ref.ID)
}
