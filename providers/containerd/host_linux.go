package containerd

import (
	"os"

	"github.com/containerd/cgroups/v3"
	"github.com/containerd/containerd/v2/contrib/apparmor"
	"github.com/containerd/containerd/v2/contrib/seccomp"
	hostapparmor "github.com/containerd/containerd/v2/pkg/apparmor"
	"github.com/containerd/containerd/v2/pkg/cap"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const supported = true

// host is what the translation of a spec depends on beside the spec.
type host struct {
	// unified says that cgroups are version 2, swap that swap can be bounded.
	unified, swap bool
	// files is how many open files a process may be allowed at most; 0 where that
	// is not known.
	files uint64
	// capabilities are those that exist here, in full.
	capabilities []string
	// apparmor is the profile for what is not privileged; empty where there is none.
	apparmor string
	// devices returns the host's devices, for a privileged instance.
	devices func() ([]specs.LinuxDevice, error)
	// cdi are the folders with what the host's CDI devices are.
	cdi []string
	// seccomp returns the default filter for a process with the capabilities of
	// the spec.
	seccomp func(*specs.Spec) *specs.LinuxSeccomp
}

func readHost() host {
	h := host{
		unified: cgroups.Mode() == cgroups.Unified,
		devices: oci.HostDevices,
		cdi:     cdiFolders,
		seccomp: seccomp.DefaultProfile,
	}
	h.swap = h.unified
	if !h.unified {
		_, err := os.Stat("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes")
		h.swap = err == nil
	}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil {
		h.files = limit.Max
	}
	// Where it cannot be told a privileged instance gets the default ones.
	h.capabilities, _ = cap.Current()
	return h
}

// loadAppArmor puts containerd's default profile into the kernel, unless it is
// there, and returns its name; empty where the host has no AppArmor.
func loadAppArmor() (string, error) {
	if !hostapparmor.HostSupports() {
		return "", nil
	}
	if err := apparmor.LoadDefaultProfile(appArmorProfile); err != nil {
		return "", err
	}
	return appArmorProfile, nil
}

// appArmorProfile stays in the kernel until the host is started anew, for all
// users of this module.
const appArmorProfile = "univirt-default"
