package providertest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// part is a feature that another one has or has not: with the same calls, to which
// it gives a meaning.
type part struct {
	need need
	// whole is what the feature is a part of.
	whole []need
	// kind is the error where the feature is not declared, and field what it names,
	// where it names one.
	kind  error
	field string
	do    func(ctx context.Context, e *env) error
}

// asDeclared uses the part. Where it is declared it may fail, but not as something
// that can never be.
func (p part) asDeclared(e *env) {
	err := e.returns(p.need.String(), func() error { return p.do(e.ctx, e) })
	if e.missing(p.need) != "" {
		re := e.fails(err, p.kind)
		if p.field != "" {
			require.Equal(e, p.field, re.Field, "the field at fault in: %v", err)
		}
		return
	}
	if err != nil {
		e.wellFormed(err)
	}
	require.False(e, isUnsupported(err), "it is declared: %v", err)
}

// featureParts lists those that can be seen to be missing.
func featureParts() []part {
	return append(append(instanceParts(), volumeParts()...), networkParts()...)
}

// sortedParts puts what came of a map into an order.
func sortedParts(all []part) []part {
	slices.SortFunc(all, func(a, b part) int { return strings.Compare(a.need.name, b.need.name) })
	return all
}

func instanceParts() []part {
	unsupported := errors.ErrUnsupported
	return []part{
		{has(compute.FeatureExecSignal)[0], has(compute.FeatureExec), unsupported, "", func(ctx context.Context, e *env) error {
			x, err := e.launch(ctx, e.reachable(), guestExec("sleep", "1h"))
			require.NoError(e, err)
			return x.Signal(ctx, "SIGKILL")
		}},
		{has(compute.FeatureAttachStdin)[0], all(has(compute.FeatureAttach), fields("process.stdin")), unsupported, "", func(ctx context.Context, e *env) error {
			spec := e.spec("web", "cat")
			spec.Process.Stdin = true
			inst := e.create(spec)
			e.start(inst)
			a, err := compute.Attach(ctx, inst, compute.AttachOptions{Stdin: strings.NewReader("")})
			if err != nil {
				return err
			}
			return a.Close()
		}},
		{has(compute.FeatureSnapshotMemory)[0], has(compute.FeatureSnapshot), unsupported, "", func(ctx context.Context, e *env) error {
			_, err := e.snapshots(e.running("web")).CreateSnapshot(ctx, compute.SnapshotSpec{Name: "one", Memory: true})
			return err
		}},
		{has(compute.FeatureLogsTimes)[0], has(compute.FeatureLogs), unsupported, "since", func(ctx context.Context, e *env) error {
			_, err := resource.Collect(compute.Logs(ctx, e.stopped("web"), compute.LogOptions{Since: time.Now()}))
			return err
		}},
		// It is not never, but not while it does not run.
		{has(compute.FeatureFilesStopped)[0], has(compute.FeatureFiles), errdefs.ErrUnavailable, "", func(ctx context.Context, e *env) error {
			return compute.CopyIn(ctx, e.stopped("web"), "/", bytes.NewReader(emptyTar()), compute.CopyOptions{})
		}},
		// It is not never, but not while it runs.
		{has(compute.FeatureUpdateLive)[0], changes("resources.memory"), errdefs.ErrFailedPrecondition, "", func(ctx context.Context, e *env) error {
			spec := e.spec("web", "sleep", "1h")
			spec.Resources.Memory = smallMemory
			inst := e.create(spec)
			e.start(inst)
			return inst.Update(ctx, compute.Change{Resources: &compute.Resources{Memory: largeMemory}, Apply: compute.ApplyLive})
		}},
		{hasImages(compute.FeatureDisk)[0], hasImages(compute.FeatureImport), unsupported, "", func(ctx context.Context, e *env) error {
			_, err := e.p.Images().Import(ctx, compute.ImageSource{Reader: bytes.NewReader(make([]byte, 1<<20)), Format: compute.RawDisk},
				compute.ImportOptions{Name: "localhost/disk:1"})
			return err
		}},
		{hasImages(compute.FeatureRootFS)[0], hasImages(compute.FeatureImport), unsupported, "", func(ctx context.Context, e *env) error {
			_, err := e.p.Images().Import(ctx, compute.ImageSource{Reader: bytes.NewReader(emptyTar()), Format: compute.OCIArchive}, compute.ImportOptions{})
			return err
		}},
	}
}

func volumeParts() []part {
	create := func(spec storage.Spec) func(context.Context, *env) error {
		return func(ctx context.Context, e *env) error {
			spec.Name = "made"
			_, err := e.p.Volumes().Create(ctx, spec)
			return err
		}
	}
	with := func(do func(ctx context.Context, v storage.Volume) error) func(context.Context, *env) error {
		return func(ctx context.Context, e *env) error {
			return do(ctx, e.volume(storage.Spec{Name: "data", Size: 8 * resource.MiB}))
		}
	}
	var all []part
	for feature, do := range map[resource.Feature]func(context.Context, *env) error{
		storage.FeatureFilesystem: create(storage.Spec{Mode: storage.Filesystem}),
		storage.FeatureBlock:      create(storage.Spec{Mode: storage.Block, Size: 8 * resource.MiB}),
		storage.FeatureShared:     create(storage.Spec{Access: storage.ReadWriteMany}),
		storage.FeatureClone:      create(storage.Spec{Source: storage.Source{Volume: "none-such"}}),
		storage.FeatureResize: with(func(ctx context.Context, v storage.Volume) error {
			return storage.Resize(ctx, v, 16*resource.MiB, storage.ResizeOptions{})
		}),
		storage.FeatureSnapshot: with(func(ctx context.Context, v storage.Volume) error {
			s, err := storage.Snapshots(v)
			if err == nil {
				_, err = s.CreateSnapshot(ctx, storage.SnapshotSpec{Name: "one"})
			}
			return err
		}),
		storage.FeatureTransfer: with(func(ctx context.Context, v storage.Volume) error {
			return storage.Export(ctx, v, io.Discard, storage.TransferOptions{Format: storage.Tar})
		}),
		storage.FeaturePools: func(ctx context.Context, e *env) error {
			_, err := resource.Collect(storage.Pools(ctx, e.p.Volumes()))
			return err
		},
	} {
		all = append(all, part{hasVolumes(feature)[0], hasVolumes(storage.FeatureVolumes), errors.ErrUnsupported, "", do})
	}
	return sortedParts(all)
}

func networkParts() []part {
	type attempt = func(ctx context.Context, e *env) error
	create := func(spec network.Spec) attempt {
		return func(ctx context.Context, e *env) error {
			spec.Name = "made"
			_, err := e.p.Networks().Create(ctx, spec)
			return err
		}
	}
	within := func(cidr netip.Prefix, dhcp bool) attempt {
		return create(network.Spec{Subnets: []network.Subnet{{CIDR: cidr, DHCP: dhcp}}})
	}
	reserve := func(spec network.EndpointSpec) attempt {
		return func(ctx context.Context, e *env) error {
			_, err := e.network(network.Spec{Name: "lan"}).Reserve(ctx, spec)
			return err
		}
	}
	var all []part
	for _, p := range []struct {
		feature resource.Feature
		field   string
		do      attempt
	}{
		{network.FeatureIPv4, "subnets[0].cidr", within(subnet(24), false)},
		{network.FeatureIPv6, "subnets[0].cidr", within(netip.MustParsePrefix("fd00:213:9::/64"), false)},
		{network.FeatureDHCP, "subnets[0].dhcp", within(subnet(24), true)},
		{network.FeatureNAT, "external", create(network.Spec{External: network.NAT})},
		{network.FeatureRouted, "external", create(network.Spec{External: network.Routed})},
		{network.FeatureBridged, "bridge", create(network.Spec{External: network.Bridged, Bridge: "no-such-bridge"})},
		{network.FeatureMTU, "mtu", create(network.Spec{MTU: 1400})},
		{network.FeatureFixedAddress, "mac", reserve(network.EndpointSpec{MAC: network.HardwareAddr{2, 0, 0, 1, 2, 3}})},
		{network.FeatureReserve, "for", reserve(network.EndpointSpec{For: elsewhere})},
	} {
		all = append(all, part{hasNetworks(p.feature)[0], hasNetworks(network.FeatureNetworks), errors.ErrUnsupported, p.field, p.do})
	}
	return sortedParts(all)
}
