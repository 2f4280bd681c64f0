package fake

import (
	"context"
	"maps"
	"strings"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// Features are what a provider offers, in the form in which it declares it.
type Features struct {
	// Instances are the features of each kind of instance.
	Instances map[compute.Kind]resource.Features
	// Images, Volumes and Networks are those of the other kinds of resource. Nil says
	// nothing of them; what is empty has none.
	Images, Volumes, Networks resource.Features
}

// FeaturesOf returns what a provider says of itself by Describe.
func FeaturesOf(d univirt.Description) Features {
	f := Features{Instances: map[compute.Kind]resource.Features{}, Images: d.Images, Volumes: d.Volumes.Features, Networks: d.Networks.Features}
	for kind, described := range d.Kinds {
		f.Instances[kind] = described.Features
	}
	for _, all := range []*resource.Features{&f.Images, &f.Volumes, &f.Networks} {
		if *all == nil {
			*all = resource.Features{}
		}
	}
	return f
}

func (f Features) isZero() bool {
	return f.Instances == nil && f.Images == nil && f.Volumes == nil && f.Networks == nil
}

// all are the features of the fake itself.
func allFeatures() Features {
	return Features{
		Instances: map[compute.Kind]resource.Features{
			compute.Container: featuresOf(compute.Container), compute.VM: featuresOf(compute.VM),
		},
		Images: imageFeatures, Volumes: volumeFeatures, Networks: networkFeatures,
	}
}

// narrowed returns what is among both, where others says anything.
func (f Features) narrowed(others Features) Features {
	f.Instances = maps.Clone(f.Instances)
	for kind, other := range others.Instances {
		f.Instances[kind] = common(f.Instances[kind], other)
	}
	f.Images = common(f.Images, others.Images)
	f.Volumes = common(f.Volumes, others.Volumes)
	f.Networks = common(f.Networks, others.Networks)
	return f
}

// common returns the features that both have. What only the second has not is missing
// for its reason.
func common(features, others resource.Features) resource.Features {
	if others == nil {
		return features
	}
	out := resource.Features{}
	for feature, support := range features {
		if support.Supported && !others.Has(feature) {
			support = resource.Support{Reason: others[feature].Reason}
		}
		out[feature] = support
	}
	return out
}

// refuse has tables of fields refuse what makes no sense without a feature.
func (f Features) refuse(tables map[compute.Kind]resource.FieldTable) map[compute.Kind]resource.FieldTable {
	// part is a feature that is nothing without the whole.
	part := func(features resource.Features, whole, feature resource.Feature) resource.Support {
		if !features.Has(whole) {
			feature = whole
		}
		return features[feature]
	}
	needs := map[string]resource.Support{
		"pull=always":          f.Images[compute.FeaturePull],
		"mounts[].type=device": part(f.Volumes, storage.FeatureVolumes, storage.FeatureBlock),
		"mounts[].type=volume": part(f.Volumes, storage.FeatureVolumes, storage.FeatureFilesystem),
	}
	for _, path := range below("networks") {
		needs[path] = f.Networks[network.FeatureNetworks]
	}
	for _, path := range []string{"networks[].mac", "networks[].addresses"} {
		needs[path] = part(f.Networks, network.FeatureNetworks, network.FeatureFixedAddress)
	}
	for _, path := range []string{"ports[].publish", "ports[].hostIP", "ports[].host"} {
		needs[path] = part(f.Networks, network.FeatureNetworks, network.FeaturePublish)
	}
	out := map[compute.Kind]resource.FieldTable{}
	for kind, table := range tables {
		out[kind] = maps.Clone(table)
		for path, support := range needs {
			if !support.Supported && levelOf(table, path) != resource.FieldRefused {
				out[kind].Refused(support.Reason, path)
			}
		}
	}
	return out
}

// levelOf is what a table does with a field, or with one value of it.
func levelOf(table resource.FieldTable, path string) resource.FieldLevel {
	if rule, listed := table[path]; listed {
		return rule.Level
	}
	field, _, _ := strings.Cut(path, "=")
	return table.Rule(field).Level
}

// feature is what a provider must offer for an operation, or empty.
func (o Op) feature() resource.Feature {
	switch o {
	case OpPause, OpResume:
		return compute.FeaturePause
	case OpSuspend:
		return compute.FeatureSuspend
	case OpReset:
		return compute.FeatureReset
	case OpExec:
		return compute.FeatureExec
	case OpSignalExecution:
		return compute.FeatureExecSignal
	case OpAttach:
		return compute.FeatureAttach
	case OpLogs:
		return compute.FeatureLogs
	case OpStats:
		return compute.FeatureStats
	case OpConsole:
		return compute.FeatureConsole
	case OpScreenshot:
		return compute.FeatureScreenshot
	case OpGuest:
		return compute.FeatureGuest
	case OpDial:
		return compute.FeatureDial
	case OpCopyIn, OpCopyOut, OpFiles:
		return compute.FeatureFiles
	case OpClone:
		return compute.FeatureClone
	case OpPlan:
		return compute.FeaturePlan
	case OpCreateSnapshot, OpListSnapshots, OpRevertSnapshot, OpDeleteSnapshot:
		return compute.FeatureSnapshot
	case OpAttachVolume, OpDetachVolume:
		return compute.FeatureAttachVolume
	case OpAttachNetwork, OpDetachNetwork:
		return compute.FeatureAttachNetwork
	case OpPull:
		return compute.FeaturePull
	case OpImport:
		return compute.FeatureImport
	case OpExport:
		return compute.FeatureExport
	case OpResizeVolume:
		return storage.FeatureResize
	case OpExportVolume, OpImportVolume:
		return storage.FeatureTransfer
	case OpCreateVolumeSnapshot, OpListVolumeSnapshots, OpRevertVolumeSnapshot, OpDeleteVolumeSnapshot:
		return storage.FeatureSnapshot
	case OpListPools:
		return storage.FeaturePools
	}
	return ""
}

// of are the features of what an operation is about: of a kind of instance, if that is
// what it is about.
func (f Features) of(op Op, kind compute.Kind) resource.Features {
	switch about, _, _ := strings.Cut(string(op), "/"); resource.Kind(about) {
	case resource.KindImage:
		return f.Images
	case resource.KindVolume:
		return f.Volumes
	case resource.KindNetwork, resource.KindEndpoint:
		return f.Networks
	}
	return f.Instances[kind]
}

// refuses returns the error of an operation that is not offered, or nil.
func (f Features) refuses(op Op, kind compute.Kind) error {
	feature := op.feature()
	if feature == "" {
		return nil
	}
	if support := f.of(op, kind)[feature]; !support.Supported {
		return resource.Unsupported(op.verb(), support.Reason)
	}
	return nil
}

// without returns the error that names a field which makes no sense without a feature;
// nil where the feature is there or the field is not set.
func without(features resource.Features, feature resource.Feature, field string, set bool) error {
	if !set || features.Has(feature) {
		return nil
	}
	return unsupportedField(field, features[feature].Reason)
}

// firstOf returns the first error.
func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// features are those of the instance's kind.
func (i *instance) features() resource.Features { return i.space.backend.offers.Instances[i.spec.Kind] }

// offered is open for an operation that is about no instance.
func (p *Provider) offered(ctx context.Context, op Op) error {
	return firstOf(p.open(ctx), p.backend.offers.refuses(op, ""))
}
