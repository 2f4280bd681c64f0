package providertest

import (
	"errors"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
)

func pullingCases() []testCase {
	pull := hasImages(compute.FeaturePull)
	local := all(pull, hasImages(compute.FeatureImport), hook("Archive"), fields("pull"))
	cases := []testCase{
		{"Create asks the registry where the policy is always, and not where it is if-missing", all(local, hook("Remote")), createAlways},
		{"Create does not take what is there where the policy is always and the registry has it not", all(local, hook("Gone")), createAlwaysGone},
	}
	for _, r := range []struct {
		says string
		kind error
	}{
		{"that refuses the credentials is Unauthenticated", errdefs.ErrUnauthenticated},
		{"that forbids the image is PermissionDenied", errdefs.ErrPermissionDenied},
		{"that has been asked too often is ResourceExhausted", errdefs.ErrResourceExhausted},
		{"whose content is not what its digest says is DataLoss", errdefs.ErrDataLoss},
	} {
		cases = append(cases, testCase{
			name:  "Pull from a registry " + r.says + ", and leaves nothing behind",
			needs: all(pull, hook("Refusing")),
			run:   func(e *env) { pullRefused(e, r.kind) },
		})
	}
	return cases
}

func pullRefused(e *env, kind error) {
	ref, err := e.s.h.Refusing(kind)
	if isUnsupported(err) {
		e.Logf("the harness has no registry that answers so: %v", err)
		return
	}
	require.NoError(e, err)
	pull := func() error {
		_, err := e.p.Images().Pull(e.ctx, ref, compute.PullOptions{})
		return err
	}
	re := e.fails(e.returns("Pull", pull), kind)
	require.Equal(e, "pull", re.Op)
	e.onlyTestImage()
	err = e.returns("Create", func() error {
		_, err := e.pulling("web", ref, compute.PullIfMissing)
		return err
	})
	require.True(e, errors.Is(err, kind), "Create tells the same: %v", err)
	require.Empty(e, e.names(e.instances(), compute.Filter{}))
	e.onlyTestImage()
}

// pulling makes an instance of an image by a policy.
func (e *env) pulling(name, image string, policy compute.PullPolicy) (compute.Instance, error) {
	spec := e.spec(name, "exit", "0")
	spec.Image, spec.Pull = image, policy
	return e.instances().Create(e.ctx, spec)
}

func createAlways(e *env) {
	own := e.named(e.fullName(e.s.h.Remote))
	kept, err := e.pulling("kept", e.s.h.Remote, compute.PullIfMissing)
	require.NoError(e, err)
	require.Equal(e, own, e.info(kept).Image.ID, "the image that is there")
	fresh, err := e.pulling("fresh", e.s.h.Remote, compute.PullAlways)
	require.NoError(e, err)
	image, err := e.p.Images().Get(e.ctx, e.s.h.Remote)
	require.NoError(e, err)
	require.NotEqual(e, own, image.Ref.ID, "what the name means by now")
	require.Equal(e, image.Ref.ID, e.info(fresh).Image.ID, "the registry's image")
	require.Equal(e, own, e.info(kept).Image.ID, "the digest that the name had at Create")
}

func createAlwaysGone(e *env) {
	own := e.named(e.fullName(e.s.h.Gone))
	_, err := e.pulling("web", e.s.h.Gone, compute.PullAlways)
	e.fails(err, errdefs.ErrNotFound)
	require.Empty(e, e.names(e.instances(), compute.Filter{}))
	kept, err := e.pulling("web", e.s.h.Gone, compute.PullNever)
	require.NoError(e, err, "the image that is there is left alone")
	require.Equal(e, own, e.info(kept).Image.ID)
}

// fullName completes a reference as images tell it.
func (e *env) fullName(ref string) string {
	e.Helper()
	parsed, err := compute.ParseImageReference(ref)
	require.NoError(e, err)
	return parsed.String()
}
