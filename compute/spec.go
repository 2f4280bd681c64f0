package compute

import (
	"time"

	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// Kind says what an instance is.
type Kind string

// The kinds of instance. The empty kind in a spec means the provider's default.
const (
	VM        Kind = "vm"
	Container Kind = "container"
)

// Spec says what instance is wanted. It is one struct for both kinds; a
// provider refuses every field that is not zero and that it does not honour,
// by its path, so nothing is ever ignored in silence. Only Name is required by
// every provider, and Image by those that boot nothing else.
//
// Fields are immutable after Create unless they say how they change.
type Spec struct {
	// Name is a DNS label of at most 63 bytes, unique among the namespace's
	// instances.
	Name string `json:"name"`
	// Kind is VM, Container, or empty for the provider's default.
	Kind Kind `json:"kind,omitempty"`
	// Image is a reference such as "docker.io/library/nginx:1.27", or an image's
	// ID.
	Image string `json:"image,omitempty"`
	// Pull says when the image is brought in; PullIfMissing by default.
	Pull PullPolicy `json:"pull,omitempty"`

	// Process is what runs; the zero value is what the image says.
	Process Process `json:"process,omitzero"`
	// Hostname is a DNS name; empty means Name.
	Hostname string `json:"hostname,omitempty"`
	// StopSignal is how the main process is asked to end, such as "SIGTERM";
	// empty means what the image says, or SIGTERM.
	StopSignal string `json:"stopSignal,omitempty"`
	// StopGrace is how long Stop waits before it forces; 0 means DefaultGrace.
	// Changed by Update.
	StopGrace time.Duration `json:"stopGrace,omitempty"`
	// Init runs a small init as the first process, which reaps orphans and
	// forwards signals.
	Init bool `json:"init,omitempty"`

	// Resources bounds what the instance may use. Changed by Update.
	Resources Resources `json:"resources,omitzero"`
	// RLimits are limits of the main process, by name: "nofile", "core", ...
	RLimits map[string]RLimit `json:"rlimits,omitempty"`
	// Sysctls are kernel parameters of the instance's own namespaces.
	Sysctls map[string]string `json:"sysctls,omitempty"`

	// RootDisk is the root filesystem's size in bytes; 0 means the image's, or
	// no bound.
	RootDisk int64 `json:"rootDisk,omitempty"`
	// Mounts are volumes, temporary filesystems and host directories.
	Mounts []Mount `json:"mounts,omitempty"`
	// Files are written into the root filesystem before the first start.
	Files []File `json:"files,omitempty"`

	// Networks are the attachments to networks, the first being the default
	// route; empty means the provider's default, which Describe tells.
	Networks []NetworkAttachment `json:"networks,omitempty"`
	// NetworkMode replaces Networks by the host's network or by none.
	NetworkMode NetworkMode `json:"networkMode,omitempty"`
	// DNS replaces the networks' name resolution.
	DNS DNS `json:"dns,omitzero"`
	// Ports are the instance's ports, published or not.
	Ports []network.Port `json:"ports,omitempty"`

	// Restart says what a supervisor does when a run ends. Changed by Update.
	Restart RestartPolicy `json:"restart,omitzero"`
	// Health is checked by a supervisor while the instance runs.
	Health *Probe `json:"health,omitempty"`
	// Readiness says when the instance is ready for use; nil means when it is
	// Running, or booted for a VM.
	Readiness *Probe `json:"readiness,omitempty"`
	// Lifetime is Persistent by default.
	Lifetime resource.Lifetime `json:"lifetime,omitzero"`
	// Placement chooses among hosts, where the provider has several.
	Placement Placement `json:"placement,omitzero"`

	// Security loosens or tightens isolation. The zero value is Docker's default
	// hardening or stricter.
	Security Security `json:"security,omitzero"`
	// Devices are host devices, by path ("/dev/kvm") or CDI name
	// ("vendor.com/class=name").
	Devices []Device `json:"devices,omitempty"`

	// CloudInit configures the guest of a disk image at its first boot.
	CloudInit *CloudInit `json:"cloudInit,omitempty"`
	// Boot says how a virtual machine boots.
	Boot *Boot `json:"boot,omitempty"`

	// Labels and Annotations are changed by Update.
	Labels      resource.Labels      `json:"labels,omitempty"`
	Annotations resource.Annotations `json:"annotations,omitempty"`

	// Native holds what only one provider understands, at most one value a
	// provider. Each provider reads its own and leaves the others alone, so one
	// spec can carry wishes for several.
	Native Natives `json:"native,omitempty"`
}

// PullPolicy says when an image is brought in.
type PullPolicy string

// The pull policies.
const (
	// PullIfMissing brings the image where it is not there. The default.
	PullIfMissing PullPolicy = "if-missing"
	// PullAlways asks the registry what the name means now.
	PullAlways PullPolicy = "always"
	// PullNever uses what is there; NotFound otherwise.
	PullNever PullPolicy = "never"
)

// Process is a program with its surroundings.
type Process struct {
	// Command replaces the image's entrypoint, and its arguments too. Its first
	// element is the program: an absolute path, or a name looked up in the
	// instance's PATH.
	Command []string `json:"command,omitempty"`
	// Args are the arguments: they replace the image's default arguments.
	Args []string `json:"args,omitempty"`
	// Env is added to the image's environment; names that it has are replaced.
	// Where neither has HOME, it is the user's home in the image's /etc/passwd, or
	// "/" where that does not know the user.
	Env map[string]string `json:"env,omitempty"`
	// User is a name or number with an optional group, "user[:group]"; empty
	// means what the image says, or root.
	User string `json:"user,omitempty"`
	// Dir is the absolute working directory; empty means what the image says, or
	// "/".
	Dir string `json:"dir,omitempty"`
	// TTY gives the process a terminal. Standard output and error are one stream
	// then.
	TTY bool `json:"tty,omitempty"`
	// Stdin keeps standard input open for Attach; otherwise it is empty.
	Stdin bool `json:"stdin,omitempty"`
}

// Resources bounds what an instance may use. Zero values mean no bound for a
// container and the provider's default for a virtual machine.
type Resources struct {
	// CPUs is the number of cores. A container may have a fraction of one; for a
	// virtual machine a fraction is InvalidArgument.
	CPUs float64 `json:"cpus,omitempty"`
	// CPUWeight is the share among instances that compete, from 1 to 10000, 100
	// being normal, as in cgroup v2's cpu.weight.
	CPUWeight int `json:"cpuWeight,omitempty"`
	// CPUSet pins to host cores, in the kernel's list format: "0-3,6".
	CPUSet string `json:"cpuSet,omitempty"`
	// Memory is the memory in bytes.
	Memory int64 `json:"memory,omitempty"`
	// MemoryReservation is what is tried to be kept free for the instance.
	MemoryReservation int64 `json:"memoryReservation,omitempty"`
	// Swap is the swap in bytes beyond Memory; 0 means none where Memory is set.
	Swap int64 `json:"swap,omitempty"`
	// PIDs is the number of processes and threads.
	PIDs int64 `json:"pids,omitempty"`
	// ShmSize is the size of /dev/shm in bytes; 0 means 64 MiB.
	ShmSize int64 `json:"shmSize,omitempty"`
	// DiskRead and DiskWrite bound block devices, NetReceive and NetTransmit each
	// network attachment, in bytes a second.
	DiskRead    int64 `json:"diskRead,omitempty"`
	DiskWrite   int64 `json:"diskWrite,omitempty"`
	NetReceive  int64 `json:"netReceive,omitempty"`
	NetTransmit int64 `json:"netTransmit,omitempty"`
}

// RLimit is a soft and a hard limit; -1 means none.
type RLimit struct {
	// Soft is what is enforced; the process may raise it up to Hard.
	Soft int64 `json:"soft"`
	Hard int64 `json:"hard"`
}

// MountType says what is mounted.
type MountType string

// The types of mount.
const (
	// MountVolume mounts a volume of the provider's.
	MountVolume MountType = "volume"
	// MountTmpfs mounts memory that is gone with the run.
	MountTmpfs MountType = "tmpfs"
	// MountBind mounts a directory or file of the host.
	MountBind MountType = "bind"
	// MountDevice hands a Block volume through as a device at Path.
	MountDevice MountType = "device"
)

// Mount is a filesystem or device inside the instance.
type Mount struct {
	// Type is required.
	Type MountType `json:"type"`
	// Source is a volume's name or ID, or a host's absolute path; empty for
	// tmpfs.
	Source string `json:"source,omitempty"`
	// SubPath is a path below Source; it cannot leave it, by links neither.
	SubPath string `json:"subPath,omitempty"`
	// Path is the absolute path inside, unique among the mounts.
	Path string `json:"path"`
	// ReadOnly forbids writing.
	ReadOnly bool `json:"readOnly,omitempty"`
	// Size bounds a tmpfs in bytes; 0 means half of the memory.
	Size int64 `json:"size,omitempty"`
}

// File is a small file that is put into the instance. At most one of Data and
// Secret is set.
type File struct {
	// Path is absolute.
	Path string `json:"path"`
	// Data is the content.
	Data []byte `json:"data,omitempty"`
	// Secret is content that never appears in labels, messages or plans, and is
	// kept where root alone can read it.
	Secret resource.Secret `json:"secret,omitzero"`
	// Mode is the permissions; 0 means 0644, and 0400 for a secret.
	Mode uint32 `json:"mode,omitempty"`
	UID  int    `json:"uid,omitempty"`
	GID  int    `json:"gid,omitempty"`
}
