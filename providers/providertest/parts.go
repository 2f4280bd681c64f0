package providertest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"

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
	// kind is the error where the feature is not declared.
	kind error
	do   func(ctx context.Context, e *env) error
}

// asDeclared uses the part. Where it is declared it may fail, but not as something
// that can never be.
func (p part) asDeclared(e *env) {
	err := e.returns(p.need.String(), func() error { return p.do(e.ctx, e) })
	if e.missing(p.need) != "" {
		e.fails(err, p.kind)
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
		{has(compute.FeatureExecSignal)[0], has(compute.FeatureExec), unsupported, func(ctx context.Context, e *env) error {
			x, err := compute.Exec(ctx, e.running("web"), guestExec("sleep", "1h"))
			require.NoError(e, err)
			return x.Signal(ctx, "SIGKILL")
		}},
		{has(compute.FeatureAttachStdin)[0], all(has(compute.FeatureAttach), fields("process.stdin")), unsupported, func(ctx context.Context, e *env) error {
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
		{has(compute.FeatureSnapshotMemory)[0], has(compute.FeatureSnapshot), unsupported, func(ctx context.Context, e *env) error {
			_, err := e.snapshots(e.running("web")).CreateSnapshot(ctx, compute.SnapshotSpec{Name: "one", Memory: true})
			return err
		}},
		// It is not never, but not while it runs.
		{has(compute.FeatureUpdateLive)[0], changes("resources.memory"), errdefs.ErrFailedPrecondition, func(ctx context.Context, e *env) error {
			spec := e.spec("web", "sleep", "1h")
			spec.Resources.Memory = smallMemory
			inst := e.create(spec)
			e.start(inst)
			return inst.Update(ctx, compute.Change{Resources: &compute.Resources{Memory: largeMemory}, Apply: compute.ApplyLive})
		}},
		{hasImages(compute.FeatureDisk)[0], hasImages(compute.FeatureImport), unsupported, func(ctx context.Context, e *env) error {
			_, err := e.p.Images().Import(ctx, compute.ImageSource{Reader: bytes.NewReader(make([]byte, 1<<20)), Format: compute.RawDisk},
				compute.ImportOptions{Name: "localhost/disk:1"})
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
		all = append(all, part{hasVolumes(feature)[0], hasVolumes(storage.FeatureVolumes), errors.ErrUnsupported, do})
	}
	return sortedParts(all)
}

func networkParts() []part {
	create := func(spec network.Spec) func(context.Context, *env) error {
		return func(ctx context.Context, e *env) error {
			spec.Name = "made"
			_, err := e.p.Networks().Create(ctx, spec)
			return err
		}
	}
	var all []part
	for feature, do := range map[resource.Feature]func(context.Context, *env) error{
		network.FeatureIPv4:    create(network.Spec{Subnets: []network.Subnet{{CIDR: netip.MustParsePrefix("10.213.9.0/24")}}}),
		network.FeatureIPv6:    create(network.Spec{Subnets: []network.Subnet{{CIDR: netip.MustParsePrefix("fd00:213:9::/64")}}}),
		network.FeatureNAT:     create(network.Spec{External: network.NAT}),
		network.FeatureRouted:  create(network.Spec{External: network.Routed}),
		network.FeatureBridged: create(network.Spec{External: network.Bridged, Bridge: "no-such-bridge"}),
		network.FeatureDHCP:    create(network.Spec{Subnets: []network.Subnet{{CIDR: netip.MustParsePrefix("10.213.9.0/24"), DHCP: true}}}),
		network.FeatureMTU:     create(network.Spec{MTU: 1400}),
		network.FeatureFixedAddress: func(ctx context.Context, e *env) error {
			n := e.network(network.Spec{Name: "lan"})
			_, err := n.Reserve(ctx, network.EndpointSpec{MAC: network.HardwareAddr{2, 0, 0, 1, 2, 3}})
			return err
		},
	} {
		all = append(all, part{hasNetworks(feature)[0], hasNetworks(network.FeatureNetworks), errors.ErrUnsupported, do})
	}
	return sortedParts(all)
}
