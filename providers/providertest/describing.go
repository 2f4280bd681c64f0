package providertest

import (
	"github.com/stretchr/testify/require"

	univirt "github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

func describeCases() []testCase {
	return []testCase{
		{"Describe names provider, namespace and owner", nil, describeNames},
		{"Describe tells the backend and whether its version was tested", nil, describeBackend},
		{"Describe finds no problems where all is well, and no leftovers", nil, describeHealth},
		{"Describe tells the capacity, or -1 where it is not known", nil, describeCapacity},
		{"Describe declares nothing that no package defines", nil, describeFeatures},
		{"Describe declares fields that the specs have", nil, describeFields},
		{"Describe tells how changes become known", nil, describeChanges},
		{"A part of a feature is declared with the whole only", nil, describeParts},
	}
}

func (e *env) describe() univirt.Description {
	e.Helper()
	desc, err := e.p.Describe(e.ctx)
	require.NoError(e, err)
	return desc
}

func describeNames(e *env) {
	desc := e.describe()
	require.NotEmpty(e, desc.Provider)
	require.Equal(e, e.lane.namespace, desc.Namespace)
	require.Equal(e, owner, desc.Owner.Name)
	require.NotEmpty(e, desc.Owner.Generation)
	require.Contains(e, desc.Kinds, desc.DefaultKind)
	for kind := range desc.Kinds {
		require.Contains(e, []compute.Kind{compute.VM, compute.Container}, kind)
	}
}

func describeBackend(e *env) {
	backend := e.describe().Backend
	require.NotEmpty(e, backend.Name)
	require.NotEmpty(e, backend.Version)
}

func describeHealth(e *env) {
	e.running("web")
	desc := e.describe()
	require.Empty(e, desc.Problems)
	require.Empty(e, desc.Leftovers, "what is being made by somebody who is dead")
}

func describeCapacity(e *env) {
	c := e.describe().Capacity
	for name, v := range map[string]float64{
		"CPUs": c.CPUs, "Memory": float64(c.Memory), "MemoryAvailable": float64(c.MemoryAvailable),
		"Disk": float64(c.Disk), "DiskAvailable": float64(c.DiskAvailable), "Instances": float64(c.Instances),
	} {
		require.True(e, v == -1 || v > 0 || v == 0 && name != "CPUs" && name != "Memory", "%s is %v", name, v)
	}
	if c.Memory > 0 {
		require.LessOrEqual(e, c.MemoryAvailable, c.Memory)
	}
	if c.Disk > 0 {
		require.LessOrEqual(e, c.DiskAvailable, c.Disk)
	}
}

func describeFeatures(e *env) {
	desc := e.describe()
	for kind, k := range desc.Kinds {
		for name := range k.Features {
			require.Contains(e, compute.Features(), name, "of %s", kind)
		}
	}
	for _, d := range []struct {
		known    []resource.Feature
		declared resource.Features
	}{
		{compute.ImageFeatures(), desc.Images},
		{storage.Features(), desc.Volumes.Features},
		{network.Features(), desc.Networks.Features},
	} {
		for name := range d.declared {
			require.Contains(e, d.known, name)
		}
	}
}

func describeFields(e *env) {
	desc := e.describe()
	for kind, k := range desc.Kinds {
		require.Empty(e, k.Fields.Unknown(compute.Spec{}), "of the spec of a %s", kind)
		require.Empty(e, k.Changeable.Unknown(compute.Change{}), "of a change of a %s", kind)
		for _, path := range []string{"name", "kind"} {
			require.Equal(e, resource.FieldHonored, k.Fields.Rule(path).Level, "%s of a %s", path, kind)
		}
	}
	require.Empty(e, desc.Volumes.Fields.Unknown(storage.Spec{}), "of volumes")
	require.Empty(e, desc.Networks.Fields.Unknown(network.Spec{}), "of networks")
}

func describeChanges(e *env) {
	changes := e.describe().Changes
	require.Contains(e, changes, resource.KindInstance)
	for kind, notice := range changes {
		require.Contains(e, []univirt.ChangeNotice{univirt.ByEvent, univirt.ByRefresh, univirt.NeverTold}, notice, "of %s", kind)
	}
}

func describeParts(e *env) {
	desc := e.describe()
	for part, whole := range map[resource.Feature]resource.Feature{
		compute.FeatureExecStdin: compute.FeatureExec, compute.FeatureExecTTY: compute.FeatureExec,
		compute.FeatureExecSignal: compute.FeatureExec, compute.FeatureExecUser: compute.FeatureExec,
		compute.FeatureExecSplit: compute.FeatureExec, compute.FeatureAttachStdin: compute.FeatureAttach,
		compute.FeatureLogsDurable: compute.FeatureLogs, compute.FeatureLogsSplit: compute.FeatureLogs,
		compute.FeatureSnapshotMemory: compute.FeatureSnapshot, compute.FeatureExitOOM: compute.FeatureExitCode,
	} {
		for kind, k := range desc.Kinds {
			require.False(e, k.Features.Has(part) && !k.Features.Has(whole), "a %s has %s and not %s", kind, part, whole)
		}
	}
	for name := range desc.Volumes.Features {
		require.False(e, desc.Volumes.Features.Has(name) && !desc.Volumes.Features.Has(storage.FeatureVolumes), "%s without volumes", name)
	}
	for name := range desc.Networks.Features {
		require.False(e, desc.Networks.Features.Has(name) && !desc.Networks.Features.Has(network.FeatureNetworks), "%s without networks", name)
	}
}
