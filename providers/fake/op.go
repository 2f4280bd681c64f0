package fake

import (
	"slices"
	"strings"

	"github.com/univirt/univirt/resource"
)

// Op is an operation of the backend, for faults and latencies.
type Op string

// The operations: one for each method of the contract that calls the backend, and
// OpBoot besides. ID and Handle make no call, and Close is not to fail.
const (
	OpCreate     Op = "instance/create"
	OpGet        Op = "instance/get"
	OpList       Op = "instance/list"
	OpInfo       Op = "instance/info"
	OpStart      Op = "instance/start"
	OpStop       Op = "instance/stop"
	OpWait       Op = "instance/wait"
	OpUpdate     Op = "instance/update"
	OpDelete     Op = "instance/delete"
	OpPause      Op = "instance/pause"
	OpResume     Op = "instance/resume"
	OpSuspend    Op = "instance/suspend"
	OpReset      Op = "instance/reset"
	OpExec       Op = "instance/exec"
	OpAttach     Op = "instance/attach"
	OpLogs       Op = "instance/logs"
	OpStats      Op = "instance/stats"
	OpConsole    Op = "instance/console"
	OpScreenshot Op = "instance/screenshot"
	OpGuest      Op = "instance/guest"
	OpDial       Op = "instance/dial"
	OpCopyIn     Op = "instance/copy in"
	OpCopyOut    Op = "instance/copy out"
	OpFiles      Op = "instance/files"
	// OpClone is about the copy.
	OpClone Op = "instance/clone"
	OpPlan  Op = "instance/plan"

	// What is done with what Exec and Attach returned is about the instance: Site.Of
	// takes its name. A fault and a latency of a wait come before the wait.
	OpWaitExecution   Op = "execution/wait"
	OpSignalExecution Op = "execution/signal"
	OpResizeExecution Op = "execution/resize"

	OpWaitAttachment   Op = "attachment/wait"
	OpResizeAttachment Op = "attachment/resize"

	OpCreateSnapshot Op = "instance/create snapshot"
	OpListSnapshots  Op = "instance/list snapshots"
	OpRevertSnapshot Op = "instance/revert snapshot"
	OpDeleteSnapshot Op = "instance/delete snapshot"

	OpAttachVolume  Op = "instance/attach volume"
	OpDetachVolume  Op = "instance/detach volume"
	OpAttachNetwork Op = "instance/attach network"
	OpDetachNetwork Op = "instance/detach network"

	// OpBoot is the guest's way from Running to answering Exec. It takes no time
	// unless a latency or a fault says so.
	OpBoot Op = "instance/boot"

	OpPull        Op = "image/pull"
	OpImport      Op = "image/import"
	OpExport      Op = "image/export"
	OpGetImage    Op = "image/get"
	OpListImages  Op = "image/list"
	OpDeleteImage Op = "image/delete"

	OpCreateVolume Op = "volume/create"
	OpGetVolume    Op = "volume/get"
	OpListVolumes  Op = "volume/list"
	OpVolumeInfo   Op = "volume/info"
	OpUpdateVolume Op = "volume/update"
	OpDeleteVolume Op = "volume/delete"
	OpResizeVolume Op = "volume/resize"
	OpExportVolume Op = "volume/export"
	OpImportVolume Op = "volume/import"
	OpListPools    Op = "volume/list pools"

	OpCreateVolumeSnapshot Op = "volume/create snapshot"
	OpListVolumeSnapshots  Op = "volume/list snapshots"
	OpRevertVolumeSnapshot Op = "volume/revert snapshot"
	OpDeleteVolumeSnapshot Op = "volume/delete snapshot"

	OpCreateNetwork Op = "network/create"
	OpGetNetwork    Op = "network/get"
	OpListNetworks  Op = "network/list"
	OpNetworkInfo   Op = "network/info"
	OpUpdateNetwork Op = "network/update"
	OpDeleteNetwork Op = "network/delete"

	// A reservation and a list are about the network: Site.Of takes its name.
	OpReserve         Op = "endpoint/reserve"
	OpEndpointInfo    Op = "endpoint/info"
	OpListEndpoints   Op = "endpoint/list"
	OpReleaseEndpoint Op = "endpoint/release"

	OpDescribe Op = "provider/describe"
	// OpWatch is the beginning of a watch, of one instance too.
	OpWatch Op = "provider/watch"
	OpSweep Op = "provider/sweep"
	OpAdopt Op = "provider/adopt"
)

var ops = []Op{
	OpCreate, OpGet, OpList, OpInfo, OpStart, OpStop, OpWait, OpUpdate, OpDelete, OpPause, OpResume,
	OpSuspend, OpReset, OpExec, OpAttach, OpLogs, OpStats, OpConsole, OpScreenshot, OpGuest, OpDial, OpCopyIn,
	OpCopyOut, OpFiles, OpClone, OpPlan, OpWaitExecution, OpSignalExecution, OpResizeExecution,
	OpWaitAttachment, OpResizeAttachment, OpCreateSnapshot, OpListSnapshots, OpRevertSnapshot, OpDeleteSnapshot,
	OpAttachVolume, OpDetachVolume, OpAttachNetwork, OpDetachNetwork, OpBoot,
	OpPull, OpImport, OpExport, OpGetImage, OpListImages, OpDeleteImage,
	OpCreateVolume, OpGetVolume, OpListVolumes, OpVolumeInfo, OpUpdateVolume, OpDeleteVolume,
	OpResizeVolume, OpExportVolume, OpImportVolume, OpListPools,
	OpCreateVolumeSnapshot, OpListVolumeSnapshots, OpRevertVolumeSnapshot, OpDeleteVolumeSnapshot,
	OpCreateNetwork, OpGetNetwork, OpListNetworks, OpNetworkInfo, OpUpdateNetwork, OpDeleteNetwork,
	OpReserve, OpEndpointInfo, OpListEndpoints, OpReleaseEndpoint,
	OpDescribe, OpWatch, OpSweep, OpAdopt,
}

// Ops lists the operations.
func Ops() []Op { return slices.Clone(ops) }

// check returns why there is no such operation, or "".
func (o Op) check() string { return checkWord("operation", o, ops) }

// name is how a fault tells of the operation: as its constant is called, with the
// kind unless that is an instance.
func (o Op) name() string {
	if kind, verb, _ := strings.Cut(string(o), "/"); kind == string(resource.KindInstance) {
		return verb
	}
	return string(o)
}

// verb is the operation's name in errors.
func (o Op) verb() string {
	if _, verb, ok := strings.Cut(string(o), "/"); ok {
		return verb
	}
	return string(o)
}
