// Package libvirt makes instances real as virtual machines of libvirt, on this
// host or another.
//
// It needs libvirt's client library, and so a build tag: libvirt links it, which
// takes its headers, and libvirt_dlopen looks for it when a connection is opened,
// which takes a C compiler only. Without a tag, or without cgo, the package
// builds and New says errors.ErrUnsupported.
//
//	import _ "github.com/univirt/univirt/providers/libvirt"
//
//	p, err := univirt.Open(ctx, "libvirt:")
//
// # What a machine runs
//
// A machine boots what its image holds, a disk as qcow2 or raw that was imported, or
// the kernel of Boot. It is told what else to do by CloudInit, where the image has
// cloud-init, and by Exec, which with files, guest information and readiness above
// compute.LevelRunning needs qemu-guest-agent in it; so the fields of a process are refused.
// What it writes to its first serial port is its log: of a managed daemon always, else
// where Options.ConsoleDir names a folder that the hypervisor may write to. A machine is on
// no network unless the spec names one, and a port can be published where it is on one. The
// user's own hypervisor, of libvirt:///session, has no networks.
//
// # URLs
//
// "libvirt:" is the local hypervisor: the system's for root, else the user's own.
// "libvirt:///system" and "libvirt:///session" say which,
// "libvirt+ssh://user@host/system" and "libvirt+tls://host/system" go to another
// host, and behind "libvirt:" any URI of libvirt's can stand, as in
// "libvirt:test:///default". The parameters managed, leave, private, binary,
// acceleration, namespace, owner, state, console, pool and supervise are those of Options; socket, keyfile, command, no_verify, pkipath, sshauth, known_hosts,
// known_hosts_verify, no_tty and tls_priority are libvirt's own.
//
// Libvirt's own transport libssh is refused: its client library was seen to crash.
//
// # Another host
//
// A hypervisor on another host offers what needs no file of its host: there are no
// logs, but consoles; a filesystem volume is made here and sent there, but not made
// smaller. The locks in Options.StateDir are of this host: programs of several hosts
// that change one instance at the same time may undo each other's changes, which
// volumes, networks and images are proof against. Describe tells all that.
//
// # What is where
//
// An instance is a persistent domain, whose name is the namespace's and the
// instance's with a dot between them, and whose UUID is the instance's ID. The
// domain's metadata holds the spec, labels, the owner, the last exit and what the
// supervisor has found out, so any
// process that reaches the hypervisor finds them.
//
// A volume is a file of a storage pool, with its record beside it: a block volume is
// raw or qcow2, and a filesystem volume an ext4. A machine gets one as a virtio disk,
// which its guest finds as /dev/disk/by-id/virtio-SERIAL and mounts: the serial number
// is the mount's path with '-' between its parts, as in "srv-www" for /srv/www, or
// the beginning of the path's SHA-256 where that has a '-' or does not fit. A pool is of
// the types whose volumes are files: dir, fs or netfs. Others, such as logical or rbd, are
// FailedPrecondition.
//
// A snapshot of an instance is kept within its disks, those of its volumes too. So there
// is none while it has a raw one that it may write to, as volumes are by default, nor of a
// machine with UEFI while it runs; that is errors.ErrUnsupported.
//
// # Other providers' networks
//
// Options.OtherNetworks has machines plug in endpoints that were reserved on networks of
// other values, also other providers': by the endpoint's ID, onto the bridge of this host
// that the network is made of. An endpoint of a network without a bridge, or whose bridge
// is not where the hypervisor runs, is FailedPrecondition; so it is where the hypervisor is
// on another host. The instance's record has all that its network card needs, so that a
// value without the option lists, starts and deletes it too. It tells the addresses that
// were reserved; a value with the option tells what the network says.
//
// The other network is not told who has its endpoint. Within one hypervisor none has two
// instances, of whatever namespaces, and this provider's own networks refuse to release one
// that is had. Beyond it the other network says itself when an instance runs with the
// endpoint, which is looked at when a machine is made and when it starts, and nobody knows
// of an instance of another hypervisor that stands still. An endpoint that its network
// has released meanwhile keeps the machine from starting, where the option names the
// network. Processes that share no Options.StateDir can give one endpoint away twice at
// the same moment.
//
// # Files
//
// The guest's agent reads and writes files, as root, while the machine runs: with tar,
// stat and find as GNU's and busybox have them. An archive is looked at as a whole
// before the guest gets any of it, and so needs room on this host, in the folder for
// state; on its way out it needs room in the guest's /tmp, as all output does. Sizes,
// owners by number, permissions, times in seconds and links are kept; extended
// attributes are not, and archives with holes or devices are refused.
//
// # Changes while a machine runs
//
// Update pins a machine that runs to other processors, and gives it another weight
// where the host has that controller of cgroups. Memory is what the guest's balloon
// driver gives back to the host, or takes again: never more than the machine was
// started with, and a guest that wants to can take back what it gave. Processors are
// plugged in, up to four times those that the machine was started with and up to eight
// at least, and put away by the guest's agent, which they need: none is unplugged.
//
// # Supervision
//
// With Options.Supervise a value acts on restart policies, health checks and readiness
// probes of its namespace, for as long as it is open. Of several on one host that use
// one folder for state one does; another takes over within a second when that is
// closed, or its process is killed, and goes on with the rows of restarts and the
// health that it left. Without a supervisor the fields are hints, which are kept for
// one that comes later.
//
// When a supervisor begins, it starts what was to run and does not: after the host has
// come up, all instances with the policy "always", and those with "on-failure" of whose
// end nobody knows that it was none; but never one that a Stop was about to end, and
// none that has never run. A Stop is written down in front of its first step. One whose
// process is killed after that leaves a machine that runs on, and is not started again
// when it ends by itself.
//
// Whoever shuts a host's machines down while a supervisor runs has them started again:
// a program that supervises as a service of systemd's comes after libvirt-guests.service,
// so that it is stopped before.
//
// An end that libvirt's other programs bring about, as "virsh destroy" does, is a
// failure. A machine that powers itself off has ended well. A health check that
// executes something needs the guest's agent, so give it a StartPeriod that is longer
// than the guest takes to boot.
package libvirt
