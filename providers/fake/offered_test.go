package fake_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/providers/libvirt"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// but are all features that the fake has but some, which are missing for a reason.
func but(t *testing.T, missing ...resource.Feature) fake.Features {
	t.Helper()
	d, err := fake.Test(t, fake.Options{}).Describe(t.Context())
	require.NoError(t, err)
	all := fake.FeaturesOf(d)
	without := func(features resource.Features) resource.Features {
		features = resource.Clone(features)
		for _, feature := range missing {
			if features.Has(feature) {
				features[feature] = resource.Support{Reason: "theirs has none"}
			}
		}
		return features
	}
	for kind, features := range all.Instances {
		all.Instances[kind] = without(features)
	}
	return fake.Features{Instances: all.Instances, Images: without(all.Images), Volumes: without(all.Volumes), Networks: without(all.Networks)}
}

// TestFeaturesThatAreMissing takes away one feature after the other: what is told by
// Describe is what the calls say, with the reason.
func TestFeaturesThatAreMissing(t *testing.T) {
	for method, s := range steps {
		feature := map[fake.Op]resource.Feature{
			fake.OpPause: compute.FeaturePause, fake.OpSuspend: compute.FeatureSuspend, fake.OpReset: compute.FeatureReset,
			fake.OpAttach: compute.FeatureAttach, fake.OpLogs: compute.FeatureLogs, fake.OpStats: compute.FeatureStats,
			fake.OpConsole: compute.FeatureConsole, fake.OpScreenshot: compute.FeatureScreenshot, fake.OpGuest: compute.FeatureGuest,
			fake.OpDial: compute.FeatureDial, fake.OpCopyIn: compute.FeatureFiles, fake.OpCopyOut: compute.FeatureFiles,
			fake.OpFiles: compute.FeatureFiles, fake.OpClone: compute.FeatureClone, fake.OpPlan: compute.FeaturePlan,
			fake.OpCreateSnapshot: compute.FeatureSnapshot, fake.OpListSnapshots: compute.FeatureSnapshot,
			fake.OpRevertSnapshot: compute.FeatureSnapshot, fake.OpDeleteSnapshot: compute.FeatureSnapshot,
			fake.OpAttachVolume: compute.FeatureAttachVolume, fake.OpDetachVolume: compute.FeatureAttachVolume,
			fake.OpAttachNetwork: compute.FeatureAttachNetwork, fake.OpDetachNetwork: compute.FeatureAttachNetwork,
			fake.OpSignalExecution: compute.FeatureExecSignal, fake.OpImport: compute.FeatureImport, fake.OpExport: compute.FeatureExport,
			fake.OpResizeVolume: storage.FeatureResize, fake.OpExportVolume: storage.FeatureTransfer, fake.OpImportVolume: storage.FeatureTransfer,
			fake.OpCreateVolumeSnapshot: storage.FeatureSnapshot, fake.OpListVolumeSnapshots: storage.FeatureSnapshot,
			fake.OpRevertVolumeSnapshot: storage.FeatureSnapshot, fake.OpDeleteVolumeSnapshot: storage.FeatureSnapshot,
			fake.OpListPools: storage.FeaturePools,
		}[s.op]
		if feature == "" {
			continue
		}
		t.Run(method, func(t *testing.T) {
			features := but(t, feature)
			w := worldWith(t, func(opts fake.Options) *fake.Provider {
				opts.Features = features
				return fake.New(opts)
			}, feature)
			defer w.Close()
			err := s.call(t.Context(), w)
			require.ErrorIs(t, err, errors.ErrUnsupported)
			assert.ErrorContains(t, err, "is not supported: theirs has none")
			injected := w.Fail(fake.On(s.op).Hanging())
			require.ErrorContains(t, injected.Err(), "can never be called")
			d, err := w.Describe(t.Context())
			require.NoError(t, err)
			for _, all := range []resource.Features{d.Kinds[compute.VM].Features, d.Images, d.Volumes.Features} {
				assert.False(t, all.Has(feature))
			}
		})
	}
}

func TestFeaturesThatAreParts(t *testing.T) {
	type made struct {
		*fake.Provider
		inst compute.Instance
	}
	exec := func(change func(*compute.ExecSpec)) func(context.Context, made) error {
		return func(ctx context.Context, m made) error {
			spec := compute.ExecSpec{Process: compute.Process{Command: []string{"true"}}}
			change(&spec)
			return only(compute.Exec(ctx, m.inst, spec))
		}
	}
	subnet := func(cidr string, dhcp bool) func(context.Context, made) error {
		return func(ctx context.Context, m made) error {
			var s network.Subnet
			require.NoError(t, s.CIDR.UnmarshalText([]byte(cidr)))
			s.DHCP = dhcp
			return only(m.Networks().Create(ctx, network.Spec{Name: "lan", Subnets: []network.Subnet{s}}))
		}
	}
	volume := func(spec storage.Spec) func(context.Context, made) error {
		return func(ctx context.Context, m made) error {
			spec.Name = "data"
			return only(m.Volumes().Create(ctx, spec))
		}
	}
	instance := func(change func(*compute.Spec)) func(context.Context, made) error {
		return func(ctx context.Context, m made) error {
			spec := compute.Spec{Name: "other", Image: "app", Kind: compute.VM}
			change(&spec)
			return only(m.Instances().Create(ctx, spec))
		}
	}
	for feature, c := range map[resource.Feature]struct {
		field string
		do    func(context.Context, made) error
	}{
		compute.FeatureExecTTY:   {"process.tty", exec(func(s *compute.ExecSpec) { s.Process.TTY = true })},
		compute.FeatureExecUser:  {"process.user", exec(func(s *compute.ExecSpec) { s.Process.User = "0" })},
		compute.FeatureExecStdin: {"stdin", exec(func(s *compute.ExecSpec) { s.Stdin = &bytes.Buffer{} })},
		compute.FeatureSnapshotMemory: {"memory", func(ctx context.Context, m made) error {
			return only(m.inst.(compute.Snapshotter).CreateSnapshot(ctx, compute.SnapshotSpec{Name: "s", Memory: true}))
		}},
		compute.FeatureLogsTimes: {"since", func(ctx context.Context, m made) error {
			return all(compute.Logs(ctx, m.inst, compute.LogOptions{Since: time.Now()}))
		}},
		compute.FeatureAttachStdin: {"stdin", func(ctx context.Context, m made) error {
			return only(compute.Attach(ctx, m.inst, compute.AttachOptions{Stdin: &bytes.Buffer{}}))
		}},
		compute.FeaturePull:       {"pull", instance(func(s *compute.Spec) { s.Pull = compute.PullAlways })},
		storage.FeatureFilesystem: {"mode", volume(storage.Spec{Mode: storage.Filesystem})},
		storage.FeatureBlock:      {"mode", volume(storage.Spec{Mode: storage.Block, Size: 1 << 20})},
		storage.FeatureShared:     {"access", volume(storage.Spec{Access: storage.ReadWriteMany})},
		storage.FeatureClone:      {"source", volume(storage.Spec{Source: storage.Source{Volume: "other"}})},
		network.FeatureIPv4:       {"subnets[0].cidr", subnet("10.1.0.0/24", false)},
		network.FeatureIPv6:       {"subnets[0].cidr", subnet("fd00::/64", false)},
		network.FeatureDHCP:       {"subnets[0].dhcp", subnet("10.1.0.0/24", true)},
		network.FeaturePublish: {"ports[0].publish", instance(func(s *compute.Spec) {
			s.Ports = []network.Port{{Instance: 80, Publish: true}}
		})},
		network.FeatureNetworks: {"networks[0].network", instance(func(s *compute.Spec) {
			s.Networks = []compute.NetworkAttachment{{Network: "lan"}}
		})},
		storage.FeatureVolumes: {"mounts[0].type", instance(func(s *compute.Spec) {
			s.Mounts = []compute.Mount{{Type: compute.MountVolume, Source: "data", Path: "/data"}}
		})},
	} {
		t.Run(string(feature), func(t *testing.T) {
			p := fake.New(fake.Options{Features: but(t, feature), Images: []fake.Image{{Name: "app", Local: true}}})
			defer p.Close()
			inst := start(t, p, "web", vm, func(s *compute.Spec) { s.Process.Stdin = true })
			err := c.do(t.Context(), made{p, inst})
			require.ErrorIs(t, err, errors.ErrUnsupported)
			var e *resource.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, c.field, e.Field)
			assert.ErrorContains(t, err, "theirs has none")
		})
	}
}

func TestFeaturesThatTellLess(t *testing.T) {
	opts := program(func(_ context.Context, p *fake.Process) int {
		fmt.Fprintln(p.Stderr, "oops")
		return 3
	})
	opts.Features = but(t, compute.FeatureExitCode, compute.FeatureExitOOM, compute.FeatureLogsSplit, compute.FeatureLogsTimes, compute.FeatureExecSplit)
	p := fake.Test(t, opts)
	inst := start(t, p, "web", vm)
	exit, err := inst.Wait(t.Context(), compute.WaitOptions{})
	require.NoError(t, err)
	assert.Zero(t, exit.Code, "of a machine that was switched off from within")
	lines, err := resource.Collect(compute.Logs(t.Context(), inst, compute.LogOptions{Streams: []compute.Stream{compute.Stdout}}))
	require.NoError(t, err)
	require.Len(t, lines, 1)
	assert.Equal(t, compute.Stdout, lines[0].Stream)
	assert.Zero(t, lines[0].Time)

	inst = start(t, p, "idle", vm, func(s *compute.Spec) { s.Image = "idle" })
	var stdout, stderr bytes.Buffer
	x, err := compute.Exec(t.Context(), inst, compute.ExecSpec{Process: compute.Process{Command: []string{"app"}}, Stdout: &stdout, Stderr: &stderr})
	require.NoError(t, err)
	_, err = x.Wait(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "oops\n", stdout.String())
	assert.Empty(t, stderr.String())
	require.NoError(t, inst.Stop(t.Context(), compute.StopOptions{Force: true}))
	exit, err = inst.Wait(t.Context(), compute.WaitOptions{})
	require.NoError(t, err)
	assert.Equal(t, compute.Exit{Run: exit.Run, Known: true, Code: 137, Reason: "forced", Started: exit.Started, Finished: exit.Finished}, exit)
}

func TestFeaturesAreOfABackend(t *testing.T) {
	none := fake.FeaturesOf(univirt.Description{})
	assert.NotNil(t, none.Volumes, "a provider that declares nothing has nothing")
	b := fake.NewBackend(fake.Options{Features: none})
	defer b.Close()
	p := fake.Test(t, fake.Options{Backend: b})
	_, err := p.Volumes().Create(t.Context(), storage.Spec{Name: "data"})
	require.ErrorIs(t, err, errors.ErrUnsupported)
	_, err = p.Images().Pull(t.Context(), "app", compute.PullOptions{})
	require.ErrorIs(t, err, errors.ErrUnsupported)
	_, err = p.Instances().Create(t.Context(), compute.Spec{Name: "web", Image: "app"})
	require.ErrorIs(t, err, errdefs.ErrNotFound)
	require.ErrorIs(t, b.Fail(fake.On(fake.OpPull).Hanging()).Err(), errdefs.ErrInvalidArgument)

	for field, opts := range map[string]fake.Options{
		"features":                 {Backend: b, Features: none},
		"features.instances[jail]": {Features: fake.Features{Instances: map[compute.Kind]resource.Features{"jail": nil}}},
	} {
		faults := opts.Validate()
		require.Len(t, faults, 1)
		assert.Equal(t, field, faults[0].Field)
	}
}

// What another provider has not the fake can do without, so that a test sees what
// production would.
func ExampleFeaturesOf() {
	p := fake.New(fake.Options{Features: fake.FeaturesOf(univirt.Description{
		Kinds:  map[compute.Kind]univirt.KindDescription{compute.VM: libvirt.Machines()},
		Images: libvirt.ImageFeatures(),
	})})
	defer p.Close()
	_, err := p.Images().Pull(context.Background(), "debian:12", compute.PullOptions{})
	fmt.Println(err)
	// Output: pull image "debian:12": pull is not supported: libvirt brings no images: import them
}
