package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// unmountBelow detaches every mount below dir, dir itself included. It succeeds
// only if none is left, because what is removed next must not reach through a
// bind mount into a folder of somebody else.
func unmountBelow(dir string) error {
	var failed error
	// A mount may hide others that only show once it is gone.
	for range 16 {
		points, err := mountsBelow(dir)
		if err != nil || len(points) == 0 {
			return err
		}
		failed = nil
		// The last mounted comes first, so that nothing is busy by what is on it.
		for i := len(points) - 1; i >= 0; i-- {
			err := unix.Unmount(points[i], unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
			if err != nil && !errors.Is(err, unix.EINVAL) {
				failed = errors.Join(failed, fmt.Errorf("unmount %s: %w", points[i], err))
			}
		}
		if failed != nil {
			return failed
		}
	}
	return fmt.Errorf("mounts below %s keep coming back: %w", dir, errdefs.ErrUnavailable)
}

func mountsBelow(dir string) ([]string, error) {
	// The kernel names mounts by their real path.
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var below []string
	for line := range bytes.Lines(data) {
		point, ok := mountPoint(string(line))
		if !ok {
			return nil, fmt.Errorf("/proc/self/mountinfo: malformed line %q", line)
		}
		if point == resolved || strings.HasPrefix(point, resolved+"/") {
			below = append(below, point)
		}
	}
	return below, nil
}

// mountPoint takes the fifth field of a line of mountinfo, in which the kernel
// writes space, tab, newline and backslash as three octal digits.
func mountPoint(line string) (string, bool) {
	fields := strings.Fields(line)
	if len(fields) < 6 {
		return "", false
	}
	return unescape(fields[4]), true
}

func unescape(field string) string {
	var out strings.Builder
	for i := 0; i < len(field); i++ {
		if c, ok := octal(field[i:]); ok {
			out.WriteByte(c)
			i += 3
			continue
		}
		out.WriteByte(field[i])
	}
	return out.String()
}

func octal(s string) (byte, bool) {
	if len(s) < 4 || s[0] != '\\' || s[1] > '3' {
		return 0, false
	}
	var value byte
	for _, c := range []byte(s[1:4]) {
		if c < '0' || c > '7' {
			return 0, false
		}
		value = value<<3 | (c - '0')
	}
	return value, true
}
