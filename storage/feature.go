package storage

import "github.com/univirt/univirt/resource"

// The features that a provider declares for volumes.
const (
	// FeatureVolumes is the whole of the Volumes interface.
	FeatureVolumes resource.Feature = "volumes"
	// FeatureFilesystem and FeatureBlock are the two modes.
	FeatureFilesystem resource.Feature = "volumes.filesystem"
	FeatureBlock      resource.Feature = "volumes.block"
	// FeatureQuota says that a filesystem volume's Size is enforced.
	FeatureQuota resource.Feature = "volumes.quota"
	// FeatureShared says that ReadWriteMany and ReadOnlyMany work.
	FeatureShared resource.Feature = "volumes.shared"
	// FeatureUsage says that Info.Used is known.
	FeatureUsage resource.Feature = "volumes.usage"
	// FeatureResize is Resizer.
	FeatureResize resource.Feature = "volumes.resize"
	// FeatureSnapshot is Snapshotter.
	FeatureSnapshot resource.Feature = "volumes.snapshot"
	// FeatureClone says that Source works.
	FeatureClone resource.Feature = "volumes.clone"
	// FeatureTransfer is Transferer.
	FeatureTransfer resource.Feature = "volumes.transfer"
	// FeaturePools is PoolLister.
	FeaturePools resource.Feature = "volumes.pools"
)

// Features lists every feature that this package defines.
func Features() []resource.Feature {
	return []resource.Feature{
		FeatureVolumes, FeatureFilesystem, FeatureBlock, FeatureQuota, FeatureShared, FeatureUsage,
		FeatureResize, FeatureSnapshot, FeatureClone, FeatureTransfer, FeaturePools,
	}
}
