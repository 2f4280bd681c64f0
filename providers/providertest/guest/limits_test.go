package guest

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
)

// readOnly makes Files of a map.
type readOnly struct{ fstest.MapFS }

var _ Files = readOnly{}

func (r readOnly) ReadFile(name string) ([]byte, error) {
	return r.MapFS.ReadFile(strings.TrimPrefix(name, "/"))
}

func (r readOnly) ReadDir(name string) ([]fs.DirEntry, error) {
	return r.MapFS.ReadDir(strings.TrimPrefix(name, "/"))
}

func (r readOnly) Stat(name string) (fs.FileInfo, error) {
	return r.MapFS.Stat(strings.TrimPrefix(name, "/"))
}

func (r readOnly) WriteFile(string, []byte, fs.FileMode) error { return errors.ErrUnsupported }

func tree(files map[string]string) Files {
	m := fstest.MapFS{}
	for name, content := range files {
		m[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return readOnly{m}
}

func TestReadLimits(t *testing.T) {
	const hybrid = "12:memory:/docker/abc\n11:pids:/docker/abc\n10:cpu,cpuacct:/docker/abc\n1:name=systemd:/x\n0::/x\n"
	cases := map[string]struct {
		files map[string]string
		want  Limits
		fault string
	}{
		"version 2, namespace": {files: map[string]string{
			"proc/self/cgroup":                 "0::/\n",
			"sys/fs/cgroup/cgroup.controllers": "cpu memory pids",
			"sys/fs/cgroup/memory.max":         "67108864\n",
			"sys/fs/cgroup/cpu.max":            "50000 100000\n",
			"sys/fs/cgroup/pids.max":           "32\n",
		}, want: Limits{64 << 20, 0.5, 32}},
		"version 2, no namespace, on the host": {files: map[string]string{
			"proc/self/cgroup":                         "0::/system.slice/x\n",
			"sys/fs/cgroup/cgroup.controllers":         "",
			"sys/fs/cgroup/system.slice/x/memory.max":  "max\n",
			"sys/fs/cgroup/system.slice/x/cpu.max":     "max 100000\n",
			"sys/fs/cgroup/system.slice/x/pids.max":    "max\n",
			"sys/fs/cgroup/memory.max":                 "1\n",
			"sys/fs/cgroup/system.slice/x/memory.high": "5\n",
		}},
		"version 2, root": {files: map[string]string{
			"proc/self/cgroup":                 "0::/\n",
			"sys/fs/cgroup/cgroup.controllers": "cpu",
		}},
		"version 1, own group as root": {files: map[string]string{
			"proc/self/cgroup":                           hybrid,
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "1048576\n",
			"sys/fs/cgroup/cpu/cpu.cfs_quota_us":         "150000\n",
			"sys/fs/cgroup/cpu/cpu.cfs_period_us":        "100000\n",
			"sys/fs/cgroup/pids/pids.max":                "7\n",
		}, want: Limits{1 << 20, 1.5, 7}},
		"version 1, own group by path": {files: map[string]string{
			"proc/self/cgroup": hybrid,
			"sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "9223372036854771712\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":            "5\n",
			"sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us":         "-1\n",
			"sys/fs/cgroup/pids/docker/abc/pids.max":                "max\n",
		}},
		"no cgroups": {
			files: map[string]string{"proc/self/cgroup": ""},
			fault: "memory.limit_in_bytes"},
		"no proc": {fault: "cgroup"},
		"bad number": {files: map[string]string{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cgroup.controllers": "", "sys/fs/cgroup/memory.max": "much",
		}, fault: `memory.max: "much" is no limit`},
		"bad share": {files: map[string]string{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cgroup.controllers": "", "sys/fs/cgroup/cpu.max": "1 0",
		}, fault: "cpu.max: 1 of 0 is no share"},
		"hostile path": {files: map[string]string{
			"proc/self/cgroup": "0::/../../../etc\n", "sys/fs/cgroup/cgroup.controllers": "",
			"etc/memory.max": "6", "sys/fs/cgroup/etc/memory.max": "8",
		}, want: Limits{Memory: 8}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := readLimits(tree(c.files))
			if c.fault != "" {
				assert.ErrorContains(t, err, c.fault)
				return
			}
			assert.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
}

func FuzzReadLimits(f *testing.F) {
	f.Add("0::/\n", true, "100", "1 2", "max")
	f.Add("3:cpu,cpuacct:/a\n2:memory:/a\n1:pids:/a\n", false, "9223372036854771712", "-1", "5")
	f.Add(":::\n\x00", false, "", "", "")
	f.Fuzz(func(t *testing.T, groups string, v2 bool, memory, cpu, pids string) {
		files := map[string]string{
			"proc/self/cgroup":         groups,
			"sys/fs/cgroup/memory.max": memory, "sys/fs/cgroup/memory/memory.limit_in_bytes": memory,
			"sys/fs/cgroup/cpu.max": cpu, "sys/fs/cgroup/cpu/cpu.cfs_quota_us": cpu, "sys/fs/cgroup/cpu/cpu.cfs_period_us": cpu,
			"sys/fs/cgroup/pids.max": pids, "sys/fs/cgroup/pids/pids.max": pids,
		}
		if v2 {
			files["sys/fs/cgroup/cgroup.controllers"] = ""
		}
		got, err := readLimits(tree(files))
		if err == nil {
			assert.GreaterOrEqual(t, got.Memory, int64(0))
			assert.GreaterOrEqual(t, got.CPUs, 0.0)
			assert.GreaterOrEqual(t, got.PIDs, int64(0))
		}
	})
}
