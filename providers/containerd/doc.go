// Package containerd makes instances real as containers of containerd
// (https://containerd.io), releases 1.6 to 2.4, on the local host.
//
// It connects to a containerd that runs, or starts and supervises a private one
// from the installed programs:
//
//	containerd:                                        the system's containerd
//	containerd:///run/other/containerd.sock            another socket
//	containerd:?managed=/var/lib/app/containerd        a private one in a folder
//
// Further parameters, see [Options]: namespace, owner, state, snapshotter,
// runtime and supervise; with managed also binary, and leave=true to leave the
// daemon running at Close.
//
// # Where things are
//
// A namespace NAME of this module is the namespace univirt-NAME of containerd,
// with an X for each hyphen behind a hyphen, which containerd does not allow:
// `ctr -n univirt-default containers ls` lists the instances of the default one.
// The container's ID is the instance's; labels of the instance are labels of the
// container; the spec is in the extension univirt.io/instance. A folder beside
// containerd's own, [Options.StateDir], has logs, locks and the helper program;
// all processes that use one namespace use the same folder, which the
// namespace's label univirt.io/state records.
//
// # Output and input
//
// A shim gives the output of a main process to one place, which is chosen when the
// task is made: pipes, a file, or a program that the shim starts.
//
// Pipes need somebody who reads them for as long as the process runs: when the
// program that made the instance dies, the process stands still at its next write
// to a full pipe, for good. A file has both streams in one, no times and no bound.
// So the output goes to a program, the helper of this module, whose log has all
// that and outlives everybody but the shim.
//
// That is why process.stdin and attach are not supported. With a program for the
// output a shim connects nothing to the standard input of a process without a
// terminal, whatever pipe it is told of: the process reads the end of it at once.
// (With a terminal it would pass input on. But features and fields are declared for
// all instances, and half a field is refused.) And as the output has its one
// reader, to attach could be no more than to follow the log, which compute.Logs
// does. Executions are not concerned: their output goes to pipes of the caller's,
// and input comes by one.
//
// # Ports
//
// An instance's ports can be dialled, and probes by TCP and HTTP reach them, whatever
// network it is on and without a port of the host's: the connection is made on loopback
// within the instance, as its own programs would. A program that listens on another
// address alone is not reached.
//
// # Devices
//
// A device of the spec's is one of the host's by its path, a folder of them with all that
// are below it, or one by its name in the Container Device Interface: what the files in
// /etc/cdi and /var/run/cdi say that it needs, device nodes, mounts, variables and hooks,
// is done. The numbers of devices are those at the instance's creation.
//
// # Files
//
// The files of an instance that runs are those that its main process sees, with what is
// mounted there; CopyIn, CopyOut and Files reach them by that process' root, from outside.
// Those of one that does not run are its root filesystem, mounted where no other process
// sees it and for as long as it is looked at; a snapshotter is needed whose root
// filesystems are overlays or folders. No link leads out of the instance, and neither
// devices nor pipes are opened. Into "/" an archive may go through any link, as the root is
// all there is; into another directory only through those that stay below it.
//
// An archive is read as a whole, into the folder for state, before any of it is written:
// one that is damaged, or has what does not belong into a file tree, changes nothing. What
// fails after that, as on a full disk, leaves what was written until then. Owners by number,
// permissions, times in seconds, links and the capabilities of programs are kept; other
// extended attributes are not, and archives with holes or devices are refused.
//
// # Private daemons
//
// All of a managed daemon is in its folder: its root and state, the state of runc,
// the provider's own. Outside of it there are only, while an instance runs, its
// shim's socket below /run/containerd/s and its cgroup, /univirt-NAME.ID. Close of
// the last user shuts the daemon down, and instances run on: the next New on the
// folder finds them. [Remove] ends and deletes all.
//
// # AppArmor
//
// Where the host has AppArmor, with its program apparmor_parser, instances that are
// not privileged run under containerd's default profile, which New loads into the
// kernel under the name univirt-default; it stays there. Describe tells under
// "apparmor" which profile it is; where the host has no AppArmor, or the profile
// cannot be loaded, it is "none", and the rest of the hardening stands alone.
//
// # Images
//
// Images.Delete asks which instances use an image before it removes the last name.
// Containerd has no transaction over both, so that an instance that is created in
// between, by whoever uses the namespace, is not seen: it works, as its root
// filesystem keeps the layers that it is made of, but its image is gone. Programs
// that delete images while instances are made should hold a lock of their own.
//
// # Names
//
// A name is taken by preparing the snapshot of the root filesystem, whose key is
// made of the name: Prepare fails with AlreadyExists where the key exists, it is
// needed for every instance anyway, so uniqueness costs no call, and a snapshot
// that was left by a process that died is seen and removed by the next Create of
// the name, by Sweep, or by containerd when the lease of its maker has expired.
// A lease or an ingest made for the purpose would cost two calls for each
// instance; a container ID made of the name would make every use of an old
// handle a race against a new instance of the same name.
//
// # Supervision
//
// With Options.Supervise a value acts on restart policies, health checks and readiness
// probes of its namespace, for as long as it is open. Of several on one host one does;
// another takes over within a second when that is closed, or its process is killed, and
// goes on with the rows of restarts and the health that it left: all of it lies with the
// containers. Without a supervisor the fields are hints, which are kept for one that
// comes later.
//
// When a supervisor begins, it starts what was to run and does not: what ended meanwhile,
// and, after the host has come up, all instances with the policy "always" or
// "on-failure" whose run was lost; but never one that a Stop was about to end, and none
// that has never run. A Stop is written down in front of its first step. One whose process
// is killed after that leaves a container that runs on, and is not started again when it
// ends by itself. An end that containerd's other clients bring about is a failure.
//
// # A daemon that dies
//
// An operation that loses its daemon ends with Unavailable. Where it had asked for
// a change by then, the error's Outcome is OutcomeUnknown. What it could not undo
// stands in Left, and is undone when the daemon is back, or at Close, as long as
// the provider value lives; after that by Sweep. Executions and their output go on
// without the daemon, and so does a Wait for one.
package containerd
