package containerd

import (
	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// The reasons for what is not there yet or never will be.
const (
	noVolumes  = "this release's containerd provider has no volumes"
	noNetworks = "this release's containerd provider has no networks but the host's"
	noVM       = "containers have none"
	onlyThem   = "containerd runs containers only"
	noSwap     = "the kernel of the host does not count swap, and so cannot bound it"
	noScale    = "there is one host"

	unsupervised = "no supervisor runs: see Options.Supervise"
	noInput      = "a shim that gives the output to the log's writer gives a process without a terminal no input"
)

// What a supervisor acts on.
var (
	policy    = []string{"restart.mode", "restart.maxRetries", "restart.backoff"}
	health    = probeOf("health")
	readiness = probeOf("readiness")
)

// probeOf lists the fields of a probe.
func probeOf(name string) (all []string) {
	for _, field := range []string{
		"exec", "tcp", "http.port", "http.path", "http.https", "interval", "timeout", "startPeriod", "failures",
	} {
		all = append(all, name+"."+field)
	}
	return all
}

// Fields says what the provider does with each field of a compute.Spec. On a host
// whose kernel cannot bound swap, Describe tells that resources.swap is refused.
func Fields() resource.FieldTable {
	return resource.FieldTable{}.Honored(
		"name", "kind", "image", "pull",
		"process.command", "process.args", "process.env", "process.user", "process.dir", "process.tty",
		"hostname", "stopSignal", "stopGrace",
		"resources.cpus", "resources.cpuWeight", "resources.cpuSet",
		"resources.memory", "resources.memoryReservation", "resources.swap", "resources.pids", "resources.shmSize",
		"rlimits", "sysctls",
		"mounts[].type", "mounts[].source", "mounts[].path", "mounts[].readOnly", "mounts[].size",
		"networkMode", "ports[].name", "ports[].instance", "ports[].protocol",
		"files[].path", "files[].data", "files[].secret", "files[].mode", "files[].uid", "files[].gid",
		"lifetime.ephemeral", "lifetime.until",
		"security.privileged", "security.addCapabilities", "security.dropCapabilities", "security.seccomp",
		"security.readOnlyRoot", "security.allowPrivilegeEscalation",
		"devices[].source", "devices[].path", "devices[].permissions",
		"labels", "annotations", "native",
	).
		Hint("only the caller's own waits act on it", readiness...).
		Refused(onlyThem, "kind=vm").
		Refused(noVolumes, "mounts[].type=volume", "mounts[].type=device").
		Refused(noInput, "process.stdin").
		Refused("the helper has no such role yet", "init").
		Refused("limits of block devices and networks need to know the device", "resources.diskRead", "resources.diskWrite",
			"resources.netReceive", "resources.netTransmit",
		).
		Refused("the snapshotter does not bound a root filesystem", "rootDisk").
		Refused("a path below a source could be led out of it by links", "mounts[].subPath").
		Refused(noNetworks, "networks[].*", "dns.*", "ports[].publish", "ports[].hostIP", "ports[].host").
		Hint(unsupervised, policy...).
		Hint(unsupervised, health...).
		Refused(noScale, "placement.*").
		Refused("root filesystems are not remapped yet", "security.userNamespace").
		Refused(noVM, "cloudInit.*", "boot.*")
}

// Changeable says what the provider does with each field of a compute.Change, with
// the exception of Fields.
func Changeable() resource.FieldTable {
	return resource.FieldTable{}.Honored(
		"resources.cpus", "resources.cpuWeight", "resources.cpuSet",
		"resources.memory", "resources.memoryReservation", "resources.swap", "resources.pids", "resources.shmSize",
		"stopGrace", "labels", "annotations", "apply", "ifRevision",
	).Refused("limits of block devices and networks need to know the device", "resources.diskRead", "resources.diskWrite",
		"resources.netReceive", "resources.netTransmit",
	).Hint(unsupervised, policy...)
}

// Features says what the provider offers for instances.
func Features() resource.Features {
	yes := resource.Support{Supported: true}
	no := func(reason string) resource.Support { return resource.Support{Reason: reason} }
	return resource.Features{
		compute.FeaturePause:          yes,
		compute.FeatureSuspend:        no("CRIU is not driven"),
		compute.FeatureRestart:        no("it is Stop and Start"),
		compute.FeatureReset:          no(noVM),
		compute.FeatureExec:           yes,
		compute.FeatureExecStdin:      yes,
		compute.FeatureExecTTY:        yes,
		compute.FeatureExecSignal:     yes,
		compute.FeatureExecUser:       yes,
		compute.FeatureExecSplit:      yes,
		compute.FeatureAttach:         no("the output goes to the log's writer alone, which leaves a process no input either; follow the logs, or use exec"),
		compute.FeatureAttachStdin:    no(noInput),
		compute.FeatureLogs:           yes,
		compute.FeatureLogsDurable:    yes,
		compute.FeatureLogsSplit:      yes,
		compute.FeatureLogsTimes:      yes,
		compute.FeatureConsole:        no(noVM),
		compute.FeatureFiles:          yes,
		compute.FeatureFilesStopped:   yes,
		compute.FeatureSnapshot:       no("snapshots of instances are not made yet"),
		compute.FeatureSnapshotMemory: no("snapshots of instances are not made yet"),
		compute.FeatureClone:          no("instances are not cloned yet"),
		compute.FeatureAttachVolume:   no(noVolumes),
		compute.FeatureAttachNetwork:  no(noNetworks),
		compute.FeatureDial:           yes,
		compute.FeaturePlan:           yes,
		compute.FeatureScreenshot:     no(noVM),
		compute.FeatureGuest:          no("a container has the host's kernel, and its image says the rest"),
		compute.FeatureMigrate:        no(noScale),
		compute.FeatureStats:          yes,
		compute.FeatureUpdateLive:     yes,
		compute.FeatureExitCode:       yes,
		compute.FeatureExitOOM:        yes,
	}
}

// Containers describes what the provider offers for instances, without any
// containerd.
func Containers() univirt.KindDescription {
	return univirt.KindDescription{
		Features:       Features(),
		Fields:         Fields(),
		Changeable:     Changeable(),
		DefaultNetwork: "none",
	}
}

// containersOn is Containers on a host, which may not be able to do everything, with a
// supervisor or without.
func containersOn(h host, supervised bool) univirt.KindDescription {
	out := Containers()
	if supervised {
		out.Fields.Honored(policy...).Honored(health...).Honored(readiness...)
		out.Changeable.Honored(policy...)
	}
	if !h.swap {
		out.Fields.Refused(noSwap, "resources.swap")
		out.Changeable.Refused(noSwap, "resources.swap")
	}
	return out
}
