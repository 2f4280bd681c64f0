package libvirt

import (
	"slices"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// The reasons for what is not there yet or never will be.
const (
	noPull       = "libvirt brings no images: import them"
	noContainers = "a machine boots from a disk, not from an archive of files"
	noGuest      = "a machine runs what its image starts: say it by cloudInit.userData, or by compute.Exec when it runs"
	noLimits     = "this release's libvirt provider sets no limits of disks and network cards"
	onlyVMs      = "libvirt runs virtual machines here"
	onlyThere    = "a virtual machine has a kernel of its own, and no such bound"
	noScale      = "there is one host"
	// keptWithin says of which machines there is no snapshot.
	keptWithin   = "a snapshot is kept within the disks, which one that is raw, as volumes are by default, or the variables of UEFI while the machine runs, have no place for"
	onlyReal     = "libvirt's hypervisor for tests boots nothing and keeps no disks"
	noGuests     = "libvirt's hypervisor for tests has no guests"
	noTimes      = "what a console wrote is kept without the times"
	noTerminal   = "qemu-guest-agent has no terminals"
	someLive     = "memory within what the machine started with, as far as the guest gives it back; processors up to four times those it started with, and up to eight at least, where the guest has qemu-guest-agent"
	unsupervised = "no supervisor runs: see Options.Supervise"
	noUser       = "qemu-guest-agent starts processes as the user that it runs as"
)

// What a hypervisor on another host does not offer.
const (
	onlyHere   = "programs of this host take turns at an instance; those of others may undo each other's changes at the same time"
	notResized = "a filesystem is left to its guest to enlarge, and none is made smaller: its file is on the hypervisor's host"
)

// Fields says what the provider does with each field of a compute.Spec.
func Fields() resource.FieldTable {
	return resource.FieldTable{}.Honored(
		"name", "kind", "stopGrace", "image", "pull", "rootDisk",
		"cloudInit.userData", "cloudInit.metaData", "cloudInit.networkConfig",
		"resources.cpus", "resources.cpuWeight", "resources.cpuSet", "resources.memory",
		"boot.kernel", "boot.initrd", "boot.commandLine", "boot.machine", "boot.firmware",
		"networkMode", "networks[].network", "networks[].endpoint", "networks[].mac", "networks[].addresses", "networks[].aliases",
		"labels", "annotations", "lifetime.ephemeral", "lifetime.until", "native",
	).
		Hint("only the caller's own waits act on it", probeOf("readiness")...).
		Hint(unsupervised, probeOf("health")...).
		Hint(unsupervised, policy...).
		Refused(onlyVMs, "kind=container").
		Refused(noPull, "pull=always").
		Refused(noGuest, "process.*", "hostname", "init", "files[].*", "sysctls", "rlimits").
		Refused("a virtual machine is asked by its power button", "stopSignal").
		Refused(onlyThere, "resources.memoryReservation", "resources.swap", "resources.pids", "resources.shmSize").
		Refused(noLimits, "resources.diskRead", "resources.diskWrite",
			"resources.netReceive", "resources.netTransmit",
		).
		Refused("a virtual machine has a network of its own", "networkMode=host").
		Refused("a guest is told by its network's server", "dns.*").
		Honored("ports[].name", "ports[].protocol", "ports[].instance", "ports[].publish", "ports[].hostIP", "ports[].host").
		Honored("mounts[].type", "mounts[].source", "mounts[].readOnly").
		Hint("the guest mounts its disks: it finds one as /dev/disk/by-id/virtio-SERIAL, where SERIAL is the path with '-' between its parts",
			"mounts[].path").
		Refused("a guest makes its own", "mounts[].type=tmpfs", "mounts[].size").
		Refused("the host's folders are not handed through", "mounts[].type=bind").
		Refused("a guest gets a disk as a whole", "mounts[].subPath").
		Refused(noScale, "placement.*").
		Refused("the hypervisor confines a virtual machine", "security.*").
		Refused("host devices are not handed through yet", "devices[].*")
}

// policy are the fields of a policy for restarts.
var policy = []string{"restart.mode", "restart.maxRetries", "restart.backoff"}

// probeOf lists the fields of a probe.
func probeOf(field string) []string {
	return []string{
		field + ".exec", field + ".tcp", field + ".http.port", field + ".http.path", field + ".http.https",
		field + ".interval", field + ".timeout", field + ".startPeriod", field + ".failures",
	}
}

// fields is Fields of one hypervisor: that for tests boots nothing.
func (h hypervisor) fields() resource.FieldTable {
	t := Fields()
	if h.virtType == "test" {
		t.Refused(onlyReal, "image", "pull", "rootDisk", "cloudInit.userData", "cloudInit.metaData", "cloudInit.networkConfig", "boot.firmware", "mounts[].type", "mounts[].source", "mounts[].path", "mounts[].readOnly")
	}
	if h.noNetworks != "" {
		t.Refused(h.noNetworks, "networks[].network", "networks[].endpoint", "networks[].mac", "networks[].addresses", "networks[].aliases")
	}
	if h.supervised {
		t.Honored(policy...).Honored(probeOf("readiness")...).Honored(probeOf("health")...)
	}
	if h.unreachable != "" {
		t.Refused(h.unreachable, "ports[].publish", "ports[].hostIP", "ports[].host")
		for _, probe := range []string{"readiness", "health"} {
			t.Hint(h.unreachable, probe+".tcp", probe+".http.port", probe+".http.path", probe+".http.https")
		}
	}
	return t
}

// Changeable says what the provider does with each field of a compute.Change.
func Changeable() resource.FieldTable {
	return resource.FieldTable{}.Honored(
		"resources.cpus", "resources.cpuWeight", "resources.cpuSet", "resources.memory",
		"stopGrace", "labels", "annotations", "apply", "ifRevision",
	).Refused(onlyThere, "resources.memoryReservation", "resources.swap", "resources.pids", "resources.shmSize").Refused(noLimits, "resources.diskRead", "resources.diskWrite",
		"resources.netReceive", "resources.netTransmit",
	).Hint(unsupervised, policy...)
}

// Features says what the provider offers for instances.
func Features() resource.Features {
	yes := resource.Support{Supported: true}
	no := func(reason string) resource.Support { return resource.Support{Reason: reason} }
	return resource.Features{
		compute.FeaturePause:          yes,
		compute.FeatureSuspend:        yes,
		compute.FeatureRestart:        no("it is Stop and Start"),
		compute.FeatureReset:          yes,
		compute.FeatureExec:           yes,
		compute.FeatureExecStdin:      yes,
		compute.FeatureExecTTY:        no(noTerminal),
		compute.FeatureExecSignal:     yes,
		compute.FeatureExecUser:       no(noUser),
		compute.FeatureExecSplit:      yes,
		compute.FeatureAttach:         no("a virtual machine has a console"),
		compute.FeatureAttachStdin:    no("a virtual machine has a console"),
		compute.FeatureLogs:           yes,
		compute.FeatureLogsDurable:    yes,
		compute.FeatureLogsTimes:      no(noTimes),
		compute.FeatureLogsSplit:      no("a console is one stream"),
		compute.FeatureConsole:        yes,
		compute.FeatureFiles:          {Supported: true, Reason: "where the guest has qemu-guest-agent, a shell, tar, stat and find"},
		compute.FeatureFilesStopped:   no("a guest's agent reaches its files, while it runs"),
		compute.FeatureSnapshot:       {Supported: true, Reason: keptWithin},
		compute.FeatureSnapshotMemory: {Supported: true, Reason: keptWithin},
		compute.FeatureClone:          yes,
		compute.FeatureAttachVolume:   yes,
		compute.FeatureAttachNetwork:  yes,
		compute.FeatureDial:           yes,
		compute.FeaturePlan:           yes,
		compute.FeatureScreenshot:     yes,
		compute.FeatureGuest:          yes,
		compute.FeatureMigrate:        no(noScale),
		compute.FeatureStats:          yes,
		compute.FeatureUpdateLive:     {Supported: true, Reason: someLive},
		compute.FeatureExitCode:       no("a machine that is powered off has no exit code"),
		compute.FeatureExitOOM:        no("what a guest does with its memory is its own"),
	}
}

// inGuests are the features of what reaches into a guest, or comes out of it.
var inGuests = []resource.Feature{
	compute.FeatureConsole, compute.FeatureScreenshot, compute.FeatureGuest, compute.FeatureLogs, compute.FeatureLogsDurable, compute.FeatureLogsTimes,
	compute.FeatureExec, compute.FeatureExecStdin, compute.FeatureExecTTY, compute.FeatureExecSignal, compute.FeatureExecUser, compute.FeatureExecSplit,
	compute.FeatureFiles, compute.FeatureFilesStopped,
}

// Machines describes what the provider offers for instances, without any
// hypervisor.
func Machines() univirt.KindDescription {
	return univirt.KindDescription{
		Features:       Features(),
		Fields:         Fields(),
		Changeable:     Changeable(),
		DefaultNetwork: "none",
	}
}

// machines is Machines of one hypervisor.
func (h hypervisor) machines() univirt.KindDescription {
	d := Machines()
	d.Fields = h.fields()
	if h.supervised {
		d.Changeable.Honored(policy...)
	}
	if h.virtType == "test" {
		for feature := range d.Features {
			if slices.Contains(inGuests, feature) {
				d.Features[feature] = resource.Support{Reason: noGuests}
			}
		}
		d.Features[compute.FeatureUpdateLive] = resource.Support{Reason: noGuests}
		d.Features[compute.FeatureAttachVolume] = resource.Support{Reason: onlyReal}
	}
	if h.noNetworks != "" {
		d.Features[compute.FeatureAttachNetwork] = resource.Support{Reason: h.noNetworks}
	}
	if h.unreachable != "" {
		d.Features[compute.FeatureDial] = resource.Support{Reason: h.unreachable}
	}
	return d
}

// ImageFeatures says what the provider offers for images.
func ImageFeatures() resource.Features {
	yes := resource.Support{Supported: true}
	return resource.Features{
		compute.FeaturePull:     {Reason: noPull},
		compute.FeatureImport:   yes,
		compute.FeatureExport:   yes,
		compute.FeatureRootFS:   {Reason: noContainers},
		compute.FeatureDisk:     yes,
		compute.FeatureProgress: yes,
	}
}

// The reasons why there are no networks.
const (
	noServers = "libvirt's hypervisor for tests runs nothing"
	noRights  = "the user's own libvirt may make no bridges: networks need libvirt:///system"
)

// NetworkFields says what the provider does with each field of a network.Spec.
func NetworkFields() resource.FieldTable {
	return resource.FieldTable{}.Honored(
		"name", "subnets[].cidr", "subnets[].gateway", "subnets[].first", "subnets[].last", "subnets[].dhcp",
		"external", "bridge", "domain", "dns.disabled", "dns.upstream", "dns.hosts", "mtu", "labels", "annotations",
		"lifetime.ephemeral", "lifetime.until",
	)
}

// NetworkFeatures says what the provider offers for networks.
func NetworkFeatures() resource.Features {
	yes := resource.Support{Supported: true}
	return resource.Features{
		network.FeatureNetworks:      yes,
		network.FeatureIPv4:          yes,
		network.FeatureIPv6:          yes,
		network.FeatureNAT:           yes,
		network.FeatureRouted:        yes,
		network.FeatureBridged:       yes,
		network.FeatureDNS:           yes,
		network.FeatureDHCP:          yes,
		network.FeatureStableAddress: yes,
		network.FeatureFixedAddress:  yes,
		network.FeatureReserve:       yes,
		network.FeaturePublish:       yes,
		network.FeatureMTU:           yes,
	}
}
