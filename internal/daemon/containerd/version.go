package containerd

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
)

// parseVersion takes the version from the output of "containerd --version",
// whose first line reads "containerd <package> <version> <revision>". The
// package that a distribution built may have no revision, and the version may
// or may not begin with "v".
func parseVersion(output string) (version string, major int, err error) {
	line, _, _ := strings.Cut(output, "\n")
	fields := strings.Fields(line)
	if len(fields) < 3 || fields[0] != Name {
		return "", 0, fmt.Errorf("containerd --version printed %q: %w", line, errdefs.ErrFailedPrecondition)
	}
	version = strings.TrimPrefix(fields[2], "v")
	number, _, _ := strings.Cut(version, ".")
	major, err = strconv.Atoi(number)
	if err != nil || major < 1 {
		return "", 0, fmt.Errorf("containerd --version names the version %q: %w", fields[2], errdefs.ErrFailedPrecondition)
	}
	return version, major, nil
}
