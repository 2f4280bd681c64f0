//go:build linux

// Command seed stands in for cloud-init in the test guests. It looks for a disk
// with the label cidata, and applies what the NoCloud seed on it says: the name
// of the machine, addresses, keys, files and commands. What it applied it says on
// the console, in lines that begin with "guest: seed".
//
// Like cloud-init it sets the name and the addresses at each start, and does the
// rest once for each instance-id.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	device := find()
	if device == "" {
		return
	}
	if err := run(device); err != nil {
		say("failed: %v", err)
		os.Exit(1)
	}
}

// say writes a line to the console.
func say(format string, args ...any) { fmt.Printf("guest: seed "+format+"\n", args...) }

func run(device string) error {
	const at = "/run/seed"
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("/dev/"+device, at, "iso9660", unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("mount %s: %w", device, err)
	}
	s, err := read(os.DirFS(at))
	if err != nil {
		return err
	}
	if err := unix.Unmount(at, 0); err != nil {
		return err
	}
	say("on %s for instance %s", device, s.meta.InstanceID)
	return s.apply()
}

// find returns the name of the block device that holds a seed, or nothing.
func find() string {
	devices, _ := os.ReadDir("/sys/class/block")
	for _, device := range devices {
		file, err := os.Open(filepath.Join("/dev", device.Name()))
		if err != nil {
			continue
		}
		found := isSeed(file)
		file.Close()
		if found {
			return device.Name()
		}
	}
	return ""
}

// isSeed reports whether a disk has the file system and the label of a seed.
func isSeed(disk io.ReaderAt) bool {
	// The primary volume descriptor of ISO 9660: a type, a name, and behind the
	// name of the system that of the volume.
	descriptor := make([]byte, 72)
	if _, err := disk.ReadAt(descriptor, 16*2048); err != nil {
		return false
	}
	label := strings.TrimRight(string(descriptor[40:72]), " \x00")
	return descriptor[0] == 1 && string(descriptor[1:6]) == "CD001" && strings.EqualFold(label, "cidata")
}
