package compute

import "github.com/univirt/univirt/resource"

// The features that a provider declares for a kind of instance.
const (
	FeaturePause   resource.Feature = "pause"
	FeatureSuspend resource.Feature = "suspend"
	// FeatureRestart says that a provider has a way of its own; Restart works
	// without it.
	FeatureRestart resource.Feature = "restart"
	FeatureReset   resource.Feature = "reset"

	FeatureExec resource.Feature = "exec"
	// FeatureExecStdin, FeatureExecTTY, FeatureExecSignal, FeatureExecUser and
	// FeatureExecSplit (two streams told apart) are parts of exec.
	FeatureExecStdin  resource.Feature = "exec.stdin"
	FeatureExecTTY    resource.Feature = "exec.tty"
	FeatureExecSignal resource.Feature = "exec.signal"
	FeatureExecUser   resource.Feature = "exec.user"
	FeatureExecSplit  resource.Feature = "exec.split"

	FeatureAttach      resource.Feature = "attach"
	FeatureAttachStdin resource.Feature = "attach.stdin"

	FeatureLogs resource.Feature = "logs"
	// FeatureLogsDurable says that logs outlive the creating process,
	// FeatureLogsSplit that the streams are told apart, and FeatureLogsTimes that it
	// is known when each line was written.
	FeatureLogsDurable resource.Feature = "logs.durable"
	FeatureLogsSplit   resource.Feature = "logs.split"
	FeatureLogsTimes   resource.Feature = "logs.times"

	FeatureConsole resource.Feature = "console"

	FeatureFiles resource.Feature = "files"
	// FeatureFilesStopped says that the files are there while the instance does not
	// run, too.
	FeatureFilesStopped resource.Feature = "files.stopped"

	FeatureSnapshot       resource.Feature = "snapshot"
	FeatureSnapshotMemory resource.Feature = "snapshot.memory"
	FeatureClone          resource.Feature = "clone"
	FeatureAttachVolume   resource.Feature = "attach.volume"
	FeatureAttachNetwork  resource.Feature = "attach.network"
	FeatureDial           resource.Feature = "dial"
	FeaturePlan           resource.Feature = "plan"
	FeatureScreenshot     resource.Feature = "screenshot"
	// FeatureGuest: what the guest says of itself, see GuestReporter.
	FeatureGuest   resource.Feature = "guest"
	FeatureMigrate resource.Feature = "migrate"

	// FeatureStats is Instances.Stats; FeatureUpdateLive says that resources can
	// be changed while running.
	FeatureStats      resource.Feature = "stats"
	FeatureUpdateLive resource.Feature = "update.live"
	// FeatureExitCode says that Exit has the main process's code; FeatureExitOOM that it
	// says when memory ran out. Without the first the code says how the run ended: 0 for
	// a machine that was switched off from within, 137 for one that was ended by force,
	// and 1 for one that crashed.
	FeatureExitCode resource.Feature = "exit.code"
	FeatureExitOOM  resource.Feature = "exit.oom"
)

// The features that a provider declares for images.
const (
	FeaturePull     resource.Feature = "images.pull"
	FeatureImport   resource.Feature = "images.import"
	FeatureExport   resource.Feature = "images.export"
	FeatureRootFS   resource.Feature = "images.rootfs"
	FeatureDisk     resource.Feature = "images.disk"
	FeatureProgress resource.Feature = "images.progress"
)

// Features lists every feature of instances that this package defines.
func Features() []resource.Feature {
	return []resource.Feature{
		FeaturePause, FeatureSuspend, FeatureRestart, FeatureReset,
		FeatureExec, FeatureExecStdin, FeatureExecTTY, FeatureExecSignal, FeatureExecUser, FeatureExecSplit,
		FeatureAttach, FeatureAttachStdin,
		FeatureLogs, FeatureLogsDurable, FeatureLogsSplit, FeatureLogsTimes,
		FeatureConsole, FeatureFiles, FeatureFilesStopped, FeatureSnapshot, FeatureSnapshotMemory, FeatureClone,
		FeatureAttachVolume, FeatureAttachNetwork, FeatureDial, FeaturePlan, FeatureScreenshot, FeatureGuest, FeatureMigrate,
		FeatureStats, FeatureUpdateLive, FeatureExitCode, FeatureExitOOM,
	}
}

// ImageFeatures lists every feature of images that this package defines.
func ImageFeatures() []resource.Feature {
	return []resource.Feature{
		FeaturePull, FeatureImport, FeatureExport, FeatureRootFS, FeatureDisk, FeatureProgress,
	}
}
