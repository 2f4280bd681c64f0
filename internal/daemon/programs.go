package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
)

// usual are the folders of programs that a PATH often lacks.
var usual = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// SearchPath lists the folders of a PATH and the usual ones, each once. A relative
// folder is left out, since it would mean another one in the daemon.
func SearchPath(path string) []string {
	var folders []string
	for _, dir := range append(filepath.SplitList(path), usual...) {
		if filepath.IsAbs(dir) && !slices.Contains(folders, dir) {
			folders = append(folders, dir)
		}
	}
	return folders
}

// Look returns the first program of that name in the folders. The error is
// NotFound and ends in install, which says how to get the program.
func Look(name string, folders []string, install string) (string, error) {
	for _, dir := range folders {
		if file := filepath.Join(dir, name); Executable(file) {
			return file, nil
		}
	}
	return "", fmt.Errorf("%s is not in %s: %w; %s", name, strings.Join(folders, ", "), errdefs.ErrNotFound, install)
}

// Executable says whether file is a regular file that may be executed.
func Executable(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}
