//go:build linux && amd64

package main

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// volumes is the folder that disks are mounted in.
const volumes = "/run/volumes"

// useDisk mounts a disk that has an ext4 and whose serial number is a path, with '-'
// between its parts, and links it there: what is written meanwhile goes nowhere else.
// What is written to it is on the disk at once, as these machines are switched off
// without asking.
func (g *guest) useDisk(name string) {
	serial := read("/sys/class/block/" + name + "/serial")
	if serial == "" || serial == "." || serial == ".." || strings.Contains(serial, "/") || g.disks[name] != "" {
		return
	}
	at := filepath.Join(volumes, name)
	if err := os.MkdirAll(at, 0o755); err != nil {
		warn("folder for a disk", err)
		return
	}
	var flags uintptr = unix.MS_SYNCHRONOUS | unix.MS_DIRSYNC
	if read("/sys/class/block/"+name+"/ro") == "1" {
		flags |= unix.MS_RDONLY
	}
	if unix.Mount("/dev/"+name, at, "ext4", flags, "") != nil {
		return // it has something else
	}
	path := "/" + strings.ReplaceAll(serial, "-", "/")
	warn("folder of "+path, os.MkdirAll(filepath.Dir(path), 0o755))
	if err := os.Symlink(at, path); err != nil {
		warn("disk "+serial, err)
		return
	}
	g.disks[name] = path
	say("disk %s is at %s", name, path)
}

// lostDisk forgets a disk that is gone.
func (g *guest) lostDisk(name string) {
	path := g.disks[name]
	if path == "" {
		return
	}
	delete(g.disks, name)
	warn("unlink "+path, os.Remove(path))
	warn("unmount "+path, unix.Unmount(filepath.Join(volumes, name), unix.MNT_DETACH))
}
