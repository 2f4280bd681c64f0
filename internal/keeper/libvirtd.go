package keeper

import (
	"errors"
	"fmt"
)

// LibvirtdOptions describe a private libvirtd. All paths are absolute.
type LibvirtdOptions struct {
	// Dir is the folder whose parts run, lib, cache, log and etc stand for the
	// folders of the system's libvirt; in it are an empty folder "empty" and a file
	// "nothing" that nobody may open. Required.
	Dir string
	// Libvirtd and Virtlogd are the programs. Required.
	Libvirtd, Virtlogd string
	// HideKVM puts the file "nothing" in the place of /dev/kvm.
	HideKVM bool
	// PrivateNetwork makes a network namespace with nothing but loopback.
	PrivateNetwork bool
}

// LibvirtdCommand returns the command line that makes the helper at path the
// parent of a private libvirtd. It runs until it gets SIGTERM or a program that it
// starts ends within its first second; before it exits it ends libvirtd, and the log
// daemon if no VM is left. What it and the daemons print are errors for a log.
func LibvirtdCommand(path string, o LibvirtdOptions) ([]string, error) {
	err := errors.Join(checkPath("path", path), checkPath("Dir", o.Dir), checkPath("Libvirtd", o.Libvirtd), checkPath("Virtlogd", o.Virtlogd))
	if err != nil {
		return nil, fmt.Errorf("keeper: libvirtd: %w", err)
	}
	argv := []string{path, "role", "libvirtd", "dir", o.Dir, "libvirtd", o.Libvirtd, "virtlogd", o.Virtlogd}
	if o.HideKVM {
		argv = append(argv, "hide-kvm", "true")
	}
	if o.PrivateNetwork {
		argv = append(argv, "network", "private")
	}
	return argv, nil
}
