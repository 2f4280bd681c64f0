package compute_test

import (
	"context"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

func TestEnsure(t *testing.T) {
	ctx := context.Background()
	s := &machines{}
	spec := full()
	for range 3 {
		inst, err := compute.Ensure(ctx, s, spec)
		require.NoError(t, err)
		require.NotNil(t, inst)
	}
	assert.Empty(t, s.m.calls, "what is as wanted is left alone")

	// A record holds no secrets and no native values: what is read of it is met.
	data, err := compute.Encode(spec)
	require.NoError(t, err)
	stored, err := compute.Decode(data)
	require.NoError(t, err)
	s.m.info.Spec = &stored
	_, err = compute.Ensure(ctx, s, spec)
	require.NoError(t, err)
	assert.Empty(t, s.m.calls)

	spec.Resources.Memory = resource.GiB
	spec.Restart.MaxRetries = 9
	spec.StopGrace = time.Hour
	spec.Labels["more"] = "1"
	spec.Annotations["more"] = "text"
	_, err = compute.Ensure(ctx, s, spec)
	require.NoError(t, err)
	assert.Equal(t, []string{"update"}, s.m.calls, "all at once")
	assert.Empty(t, resource.Unmet(*s.m.info.Spec, spec))

	_, err = compute.Ensure(ctx, s, compute.Spec{Name: spec.Name, Resources: compute.Resources{Memory: 2 * resource.GiB}})
	require.NoError(t, err)
	assert.Equal(t, 2*resource.GiB, s.m.info.Spec.Resources.Memory)
	assert.Equal(t, full().Resources.CPUs, s.m.info.Spec.Resources.CPUs, "what is zero is left as it is")
	assert.Equal(t, compute.RestartOnFailure, s.m.info.Spec.Restart.Mode)
}

func TestEnsureOfImages(t *testing.T) {
	for name, c := range map[string]struct {
		stored, wanted string
		same           bool
	}{
		"as it was":             {"nginx", "nginx", true},
		"completed":             {"docker.io/library/nginx:latest", "nginx", true},
		"the other way":         {"nginx:latest", "docker.io/library/nginx", true},
		"by its ID":             {"nginx", sha256, true},
		"not wanted":            {"nginx", "", true},
		"another tag":           {"nginx:1", "nginx:2", false},
		"another ID":            {"nginx", sha512, false},
		"something unspeakable": {"nginx", "UPPER", false},
	} {
		s := &machines{}
		_, err := compute.Ensure(t.Context(), s, compute.Spec{Name: "web", Image: c.stored})
		require.NoError(t, err)
		_, err = compute.Ensure(t.Context(), s, compute.Spec{Name: "web", Image: c.wanted, Pull: compute.PullAlways})
		if c.same {
			assert.NoError(t, err, name)
			assert.Empty(t, s.m.calls)
			continue
		}
		var e *resource.Error
		require.ErrorAs(t, err, &e, name)
		assert.True(t, errdefs.IsFailedPrecondition(err))
		assert.Equal(t, "image", e.Field)
	}
}

func TestEnsureNamesTheField(t *testing.T) {
	for field, change := range map[string]func(*compute.Spec){
		"kind":               func(s *compute.Spec) { s.Kind = compute.Container },
		"process.command":    func(s *compute.Spec) { s.Process.Command = []string{"other"} },
		"process.env":        func(s *compute.Spec) { s.Process.Env["NEW"] = "1" },
		"mounts[1].path":     func(s *compute.Spec) { s.Mounts[1].Path = "/other" },
		"mounts":             func(s *compute.Spec) { s.Mounts = s.Mounts[:1] },
		"health.exec":        func(s *compute.Spec) { s.Health.Exec = []string{"other"} },
		"lifetime.until":     func(s *compute.Spec) { s.Lifetime.Until = s.Lifetime.Until.Add(1) },
		"placement.near":     func(s *compute.Spec) { s.Placement.Near = resource.Select(resource.Exists("other")) },
		"cloudInit.userData": func(s *compute.Spec) { s.CloudInit.UserData = resource.NewSecret("other") },
		"native":             func(s *compute.Spec) { s.Native[0] = compute.RecordedNative{Provider: "containerd", Version: "2"} },
	} {
		s := &machines{}
		_, err := compute.Ensure(t.Context(), s, full())
		require.NoError(t, err)
		other := full()
		change(&other)
		other.Labels["also"] = "changed"
		inst, err := compute.Ensure(t.Context(), s, other)
		assert.Nil(t, inst)
		assert.True(t, errdefs.IsFailedPrecondition(err), "%s: %v", field, err)
		var e *resource.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, field, e.Field)
		assert.Empty(t, s.m.calls, "nothing is changed of what cannot be changed in full")
	}
}

func TestEnsureComparesAgainAfterAConflict(t *testing.T) {
	s := &machines{}
	_, err := compute.Ensure(t.Context(), s, compute.Spec{Name: "web"})
	require.NoError(t, err)
	want := compute.Spec{Name: "web", Labels: resource.Labels{"a": "1"}}
	inst := &contended{machine: s.m, left: 3}
	all := existing{inst: inst}
	_, err = compute.Ensure(t.Context(), all, want)
	require.NoError(t, err)
	assert.Equal(t, resource.Labels{"a": "1"}, s.m.info.Labels)
	inst.left = 1000
	want.Labels["a"] = "2"
	_, err = compute.Ensure(t.Context(), all, want)
	assert.True(t, errdefs.IsAborted(err), "not for ever: %v", err)
}

// contended is a machine that somebody else changes before each update.
type contended struct {
	*machine
	left int
}

func (c *contended) Update(ctx context.Context, change compute.Change) error {
	if c.left > 0 {
		c.left--
		c.revision++
	}
	return c.machine.Update(ctx, change)
}

// existing is one instance that is there already.
type existing struct {
	compute.Instances
	inst compute.Instance
}

func (e existing) Create(context.Context, compute.Spec) (compute.Instance, error) {
	return nil, errdefs.ErrAlreadyExists
}

func (e existing) Get(context.Context, string) (compute.Instance, error) { return e.inst, nil }

func TestEnsureOfOtherThings(t *testing.T) {
	_, err := compute.Ensure(t.Context(), &machines{clash: true}, compute.Spec{Name: "web"})
	assert.True(t, errdefs.IsAlreadyExists(err), "an address, not the name: %v", err)
	s := &machines{m: running(compute.Spec{})}
	s.m.info.Spec = nil
	_, err = compute.Ensure(t.Context(), s, compute.Spec{Name: "web"})
	assert.True(t, errdefs.IsFailedPrecondition(err), "%v", err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = compute.Ensure(ctx, s, compute.Spec{Name: "web"})
	assert.ErrorIs(t, err, context.Canceled)
}

// store is a set of images of which some can be pulled.
type store struct {
	compute.Images
	have, registry map[string]compute.Image
	pulls          int
}

func (s *store) Get(_ context.Context, name string) (compute.Image, error) {
	image, ok := s.have[name]
	if !ok {
		return image, resource.Fail("get", resource.Ref{Name: name}, errdefs.ErrNotFound)
	}
	return image, nil
}

func (s *store) Pull(_ context.Context, name string, _ compute.PullOptions) (compute.Image, error) {
	s.pulls++
	image, ok := s.registry[name]
	if !ok {
		return image, resource.Fail("pull", resource.Ref{Name: name}, errdefs.ErrNotFound)
	}
	s.have[name] = image
	return image, nil
}

func TestEnsureImage(t *testing.T) {
	s := &store{have: map[string]compute.Image{}, registry: map[string]compute.Image{"nginx": {Size: 1}}}
	for range 3 {
		image, err := compute.EnsureImage(t.Context(), s, "nginx", compute.PullOptions{})
		require.NoError(t, err)
		assert.Equal(t, int64(1), image.Size)
	}
	assert.Equal(t, 1, s.pulls)
	_, err := compute.EnsureImage(t.Context(), s, "other", compute.PullOptions{})
	assert.True(t, errdefs.IsNotFound(err))
	_, err = compute.EnsureImage(t.Context(), s, sha256, compute.PullOptions{})
	assert.True(t, errdefs.IsNotFound(err))
	assert.Equal(t, 2, s.pulls, "no registry is asked for an ID")
}
