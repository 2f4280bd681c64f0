// Package containerd runs a private containerd from the installed programs, on
// top of package daemon: configuration, root, state and socket lie in one
// folder, and no system service or file outside of it is needed or touched,
// save the sockets that shims keep below /run/containerd/s while they run.
//
// Linux and root only. It is tested with containerd 1.6.20 and 2.4.2.
package containerd

import (
	"path/filepath"
	"time"

	"github.com/univirt/univirt/internal/daemon"
)

// Name is what the daemon is called in messages and in the folder's record.
const Name = "containerd"

// Config says where the private containerd lives and which program it is.
type Config struct {
	// Dir is the absolute path of the folder for everything; see the field of
	// the same name in package daemon. Required, at most 93 bytes, since the
	// sockets lie in it, and without any of :,\%?# because containerd's mounts
	// and addresses cannot have them.
	Dir string
	// Binary is the path of the containerd program. Empty means the first that
	// is found in PATH, then in the usual folders. The shim is looked for beside
	// it first.
	Binary string
	// StartTimeout, Grace and Restarts are those of daemon.Config, with the same
	// meaning of zero.
	StartTimeout time.Duration
	Grace        time.Duration
	Restarts     int
}

const socketName = "sock"

// RuncRoot is where runc must keep its state for the daemon that listens on
// address, such that it goes with the folder: whoever creates a container passes
// it on, as containerd has no setting for it. It is empty where the daemon is not
// a private one of this package.
func RuncRoot(address string) string {
	if dir := filepath.Dir(address); filepath.Base(address) == socketName && daemon.Made(dir, Name) {
		return layout{dir: dir}.runc()
	}
	return ""
}

// layout is where things lie in the folder.
type layout struct {
	dir string
}

func (l layout) config() string { return filepath.Join(l.dir, "config.toml") }
func (l layout) root() string   { return filepath.Join(l.dir, "root") }
func (l layout) state() string  { return filepath.Join(l.dir, "state") }
func (l layout) temp() string   { return filepath.Join(l.dir, "temp") }
func (l layout) boot() string   { return filepath.Join(l.dir, "boot") }
func (l layout) socket() string { return filepath.Join(l.dir, socketName) }

// runc is where runc keeps its state. Like that of containerd it is dropped after
// a boot.
func (l layout) runc() string { return filepath.Join(l.state(), "runc") }

// bundles holds one folder a namespace, and in it one a container.
func (l layout) bundles() string { return filepath.Join(l.state(), "io.containerd.runtime.v2.task") }

// ttrpc is the socket on which shims publish their events. Containerd derives
// it from the other one.
func (l layout) ttrpc() string { return l.socket() + ".ttrpc" }
