package libvirtd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/univirt/univirt/internal/daemon"
)

// endInhabitants ends every process in the mount namespace of a folder: VMs, the
// log daemon, dnsmasq and whatever else libvirt started. Then it removes the
// cgroups of the VMs, as libvirt would have done.
func endInhabitants(ctx context.Context, l layout) error {
	run, err := os.Stat(l.run())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var cgroups []string
	err = daemon.EndAll(ctx, 0, func(pid int) bool {
		if !inhabits(pid, run) {
			return false
		}
		cgroups = append(cgroups, machines(pid)...)
		return true
	})
	if err != nil {
		return fmt.Errorf("processes in the namespace: %w", err)
	}
	slices.Sort(cgroups)
	for _, path := range slices.Compact(cgroups) {
		removeCgroup(path)
	}
	return nil
}

// inhabits says whether a process sees the folder run in the place of the host's,
// and is not in our own mount namespace. A process that has ended sees nothing.
func inhabits(pid int, run fs.FileInfo) bool {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	own, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return false
	}
	its, err := os.Readlink(filepath.Join(proc, "ns/mnt"))
	if err != nil || its == own {
		return false
	}
	seen, err := os.Stat(filepath.Join(proc, "root/run/libvirt"))
	return err == nil && os.SameFile(seen, run)
}

// machines are the cgroups of the VM that a process belongs to, as paths from the
// roots of the hierarchies.
func machines(pid int) (paths []string) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(data)) {
		if path, ok := machineOf(strings.TrimSuffix(line, "\n")); ok {
			paths = append(paths, path)
		}
	}
	return paths
}

// machineOf reads a line "<number>:<controllers>:<path>", of whose path it takes
// what libvirt made for the VM.
func machineOf(line string) (string, bool) {
	const suffix = ".libvirt-qemu"
	fields := strings.SplitN(line, ":", 3)
	if len(fields) < 3 {
		return "", false
	}
	parts := strings.Split(fields[2], "/")
	for i, part := range parts {
		if strings.HasSuffix(part, suffix) && part != suffix && !slices.Contains(parts, "..") {
			return strings.Join(parts[:i+1], "/"), true
		}
	}
	return "", false
}

// removeCgroup removes a cgroup in every hierarchy. One in which somebody lives
// stays: the kernel refuses.
func removeCgroup(path string) {
	const root = "/sys/fs/cgroup"
	hierarchies, _ := filepath.Glob(root + "/*")
	for _, hierarchy := range append(hierarchies, root) {
		var folders []string
		_ = filepath.WalkDir(filepath.Join(hierarchy, path), func(at string, e fs.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				folders = append(folders, at)
			}
			return nil
		})
		for _, folder := range slices.Backward(folders) {
			_ = os.Remove(folder)
		}
	}
}
