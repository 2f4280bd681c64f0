package containerd

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
)

// install tells how to get what is missing.
const install = "install containerd and runc, for example with " +
	"`apt-get install containerd runc` (Debian, Ubuntu), " +
	"`dnf install containerd runc` (Fedora) or " +
	"`apk add containerd runc` (Alpine)"

// usual are the folders of programs that a PATH often lacks.
var usual = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// programs are the programs that a private daemon needs.
type programs struct {
	containerd string
	// path is the PATH of the daemon, which finds shim and runc through it.
	path string
}

const shim = "containerd-shim-runc-v2"

// find looks for the programs. The error is NotFound and says what to install.
func find(binary, path string) (programs, error) {
	folders := searchPath(path)
	if binary == "" {
		found, err := look(Name, folders)
		if err != nil {
			return programs{}, err
		}
		binary = found
	} else if !filepath.IsAbs(binary) {
		return programs{}, fmt.Errorf("config.Binary %q is not an absolute path: %w", binary, errdefs.ErrInvalidArgument)
	} else if !executable(binary) {
		return programs{}, fmt.Errorf("config.Binary %s is not an executable file: %w; %s", binary, errdefs.ErrNotFound, install)
	}
	// The shim must fit the daemon, so the one beside it is preferred.
	folders = append([]string{filepath.Dir(binary)}, folders...)
	for _, name := range []string{shim, "runc"} {
		if _, err := look(name, folders); err != nil {
			return programs{}, err
		}
	}
	return programs{containerd: binary, path: strings.Join(folders, string(filepath.ListSeparator))}, nil
}

// searchPath is a PATH and the usual folders, each once. A relative folder is
// left out, since it would mean another one in the daemon.
func searchPath(path string) []string {
	var folders []string
	for _, dir := range append(filepath.SplitList(path), usual...) {
		if filepath.IsAbs(dir) && !slices.Contains(folders, dir) {
			folders = append(folders, dir)
		}
	}
	return folders
}

func look(name string, folders []string) (string, error) {
	for _, dir := range folders {
		if file := filepath.Join(dir, name); executable(file) {
			return file, nil
		}
	}
	return "", fmt.Errorf("%s is not in %s: %w; %s", name, strings.Join(folders, ", "), errdefs.ErrNotFound, install)
}

func executable(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}
