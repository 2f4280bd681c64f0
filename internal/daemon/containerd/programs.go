package containerd

import (
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/internal/daemon"
)

// install tells how to get what is missing.
const install = "install containerd and runc, for example with " +
	"`apt-get install containerd runc` (Debian, Ubuntu), " +
	"`dnf install containerd runc` (Fedora) or " +
	"`apk add containerd runc` (Alpine)"

// programs are the programs that a private daemon needs.
type programs struct {
	containerd string
	// path is the PATH of the daemon, which finds shim and runc through it.
	path string
}

const shim = "containerd-shim-runc-v2"

// find looks for the programs. The error is NotFound and says what to install.
func find(binary, path string) (programs, error) {
	folders := daemon.SearchPath(path)
	if binary == "" {
		found, err := daemon.Look(Name, folders, install)
		if err != nil {
			return programs{}, err
		}
		binary = found
	} else if !filepath.IsAbs(binary) {
		return programs{}, daemon.AtField("Binary", "Binary %q is not an absolute path: %w", binary, errdefs.ErrInvalidArgument)
	} else if !daemon.Executable(binary) {
		return programs{}, daemon.AtField("Binary", "Binary %s is not an executable file: %w; %s", binary, errdefs.ErrNotFound, install)
	}
	// The shim must fit the daemon, so the one beside it is preferred.
	folders = append([]string{filepath.Dir(binary)}, folders...)
	for _, name := range []string{shim, "runc"} {
		if _, err := daemon.Look(name, folders, install); err != nil {
			return programs{}, err
		}
	}
	return programs{containerd: binary, path: strings.Join(folders, string(filepath.ListSeparator))}, nil
}
