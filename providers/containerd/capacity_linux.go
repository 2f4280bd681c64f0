package containerd

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/univirt/univirt"
)

// hostMemory reads what the kernel says of the memory.
func hostMemory(c *univirt.Capacity) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(text)) {
		// "MemTotal:       24602888 kB"
		key, rest, _ := strings.Cut(line, ":")
		number, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			continue
		}
		switch key {
		case "MemTotal":
			c.Memory = n << 10
		case "MemAvailable":
			c.MemoryAvailable = n << 10
		}
	}
}

// hostDisk asks the filesystem of a folder.
func hostDisk(dir string, c *univirt.Capacity) {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) == nil {
		c.Disk = int64(s.Blocks) * s.Bsize
		c.DiskAvailable = int64(s.Bavail) * s.Bsize
	}
}
