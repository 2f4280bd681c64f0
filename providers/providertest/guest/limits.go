package guest

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// Limits is what "limits" prints. Zero means that there is no limit.
type Limits struct {
	// Memory is the most memory in bytes, without swap.
	Memory int64 `json:"memory"`
	// CPUs is the processor time per time, in processors.
	CPUs float64 `json:"cpus"`
	// PIDs is the most processes and threads.
	PIDs int64 `json:"pids"`
}

const cgroupRoot = "/sys/fs/cgroup"

// readLimits reads the limits of the program's own cgroup, of version 2 if that
// has the controllers and of version 1 otherwise.
func readLimits(files Files) (Limits, error) {
	text, err := files.ReadFile("/proc/self/cgroup")
	if err != nil {
		return Limits{}, err
	}
	groups := parseCgroups(string(text))
	if _, err := files.Stat(cgroupRoot + "/cgroup.controllers"); err == nil {
		return readLimits2(groupFiles{files, cgroupRoot, groups[""]})
	}
	return readLimits1(func(controller string) groupFiles {
		return groupFiles{files, path.Join(cgroupRoot, controller), groups[controller]}
	})
}

func readLimits2(group groupFiles) (Limits, error) {
	memory, err := group.number("memory.max")
	if err != nil {
		return Limits{}, err
	}
	pids, err := group.number("pids.max")
	if err != nil {
		return Limits{}, err
	}
	text, err := group.read("cpu.max")
	if err != nil {
		return Limits{}, err
	}
	cpus := 0.0
	if quota, period, ok := strings.Cut(text, " "); ok && quota != "max" {
		if cpus, err = ratio(quota, period); err != nil {
			return Limits{}, fmt.Errorf("cpu.max: %w", err)
		}
	}
	return Limits{Memory: memory, CPUs: cpus, PIDs: pids}, nil
}

func readLimits1(group func(controller string) groupFiles) (Limits, error) {
	memory, err := group("memory").number("memory.limit_in_bytes")
	if err != nil {
		return Limits{}, err
	}
	// "No limit" is the largest multiple of the page size.
	if memory > 1<<62 {
		memory = 0
	}
	pids, err := group("pids").number("pids.max")
	if err != nil {
		return Limits{}, err
	}
	quota, err := group("cpu").read("cpu.cfs_quota_us")
	if err != nil {
		return Limits{}, err
	}
	cpus := 0.0
	if quota != "-1" {
		period, err := group("cpu").read("cpu.cfs_period_us")
		if err != nil {
			return Limits{}, err
		}
		if cpus, err = ratio(quota, period); err != nil {
			return Limits{}, fmt.Errorf("cpu.cfs_quota_us: %w", err)
		}
	}
	return Limits{Memory: memory, CPUs: cpus, PIDs: pids}, nil
}

// parseCgroups reads /proc/self/cgroup: the path of the group by controller, and
// that of the version 2 hierarchy by the empty string.
func parseCgroups(text string) map[string]string {
	groups := map[string]string{}
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) != 3 {
			continue
		}
		for _, controller := range strings.Split(fields[1], ",") {
			groups[controller] = fields[2]
		}
	}
	return groups
}

// groupFiles finds the files of one cgroup. A container without a cgroup
// namespace sees the host's path in /proc, but its own group as the root of the
// mount, so that both places are looked at.
type groupFiles struct {
	files       Files
	mount, path string
}

func (g groupFiles) read(name string) (string, error) {
	data, err := g.files.ReadFile(path.Join(g.mount, path.Join("/", g.path), name))
	if errors.Is(err, fs.ErrNotExist) {
		data, err = g.files.ReadFile(path.Join(g.mount, name))
	}
	if errors.Is(err, fs.ErrNotExist) && strings.HasSuffix(name, ".max") {
		return "max", nil // the root group has no limits, nor has one without the controller
	}
	return strings.TrimSpace(string(data)), err
}

// number reads a file that holds a number or "max".
func (g groupFiles) number(name string) (int64, error) {
	text, err := g.read(name)
	if err != nil || text == "max" {
		return 0, err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s: %q is no limit", name, text)
	}
	return n, nil
}

func ratio(quota, period string) (float64, error) {
	q, err := strconv.ParseInt(quota, 10, 64)
	if err != nil {
		return 0, err
	}
	p, err := strconv.ParseInt(period, 10, 64)
	if err != nil {
		return 0, err
	}
	if q <= 0 || p <= 0 {
		return 0, fmt.Errorf("%d of %d is no share", q, p)
	}
	return float64(q) / float64(p), nil
}
