// Package libvirtd runs a private libvirtd from the installed programs, on top of
// package daemon: configuration, state, logs and sockets lie in one folder. No
// system service is needed or touched.
//
// Libvirt's paths are built into it, so the daemon has a mount namespace of its
// own, in which parts of the folder stand for /run/libvirt, /var/lib/libvirt,
// /var/cache/libvirt, /var/log/libvirt and /etc/libvirt. Its parent is the helper
// of package keeper, which starts libvirtd again when it dies, runs virtlogd
// beside it, and reaps at once whatever loses its parent; the process of package
// daemon is that helper.
//
// VMs and networks belong to the kernel: they go on while libvirtd is restarted or
// shut down, or the helper is killed, and virtlogd stays with them. Whoever starts
// the daemon next finds them. [Destroy] ends them.
//
// Outside of the folder remain: empty mount points, if the system's libvirtd never
// ran; the empty cgroup "machine", under which libvirt puts VMs where it is not
// told otherwise, and in it now and then that of a VM which libvirt gave up; and,
// unless Config.PrivateNetwork is set, bridges and rules of networks that were not
// stopped before Destroy. The daemon is not on the system's bus, so that systemd
// and firewalld do not know of its VMs and networks. Libvirt names a VM's cgroup
// after its number and name: two daemons that run VMs of one name should put them
// into different partitions.
//
// Linux and root only. It is tested with libvirt 9.0.0.
package libvirtd

import (
	"context"
	"net/url"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/internal/daemon"
)

// Name is what the daemon is called in messages and in the folder's record.
const Name = "libvirtd"

// Config says where the private libvirtd lives and how it runs. An adopted daemon
// keeps the User, HideKVM and PrivateNetwork that it was started with.
type Config struct {
	// Dir is the absolute path of the folder for everything; see the field of the
	// same name in package daemon. Required, at most 87 bytes, since the socket lies in
	// it, and not below one of the folders that it stands for.
	Dir string
	// Binary is the path of the libvirtd program. Empty means the first that is
	// found in PATH, then in the usual folders. Virtlogd is looked for beside it
	// first.
	Binary string
	// User is the name of the user that QEMU runs as. Empty means DefaultUser.
	User string
	// HideKVM hides /dev/kvm from libvirt and QEMU. Set it where the device opens
	// but is of no use, see package kvm: libvirt would probe QEMU anew for every
	// look at what it can do, for minutes each time.
	HideKVM bool
	// DecideKVM, if not nil, decides HideKVM when a daemon is about to be started,
	// and may keep what it finds out in a folder below Dir.
	DecideKVM func(ctx context.Context) (hide bool, err error)
	// PrivateNetwork gives the daemon a network namespace of its own, with nothing
	// but loopback in it: its bridges and rules do not meet the host's, and VMs
	// reach nothing outside.
	PrivateNetwork bool
	// StartTimeout, Grace and Restarts are those of daemon.Config, with the same
	// meaning of zero. They are about the helper; that it has started libvirtd
	// again counts as no restart.
	StartTimeout time.Duration
	Grace        time.Duration
	Restarts     int
}

// DefaultUser is the user that distributions make for QEMU, or empty if there is
// none; libvirt falls back on what it was built with then.
func DefaultUser() string {
	for _, name := range []string{"libvirt-qemu", "qemu"} {
		if _, err := user.Lookup(name); err == nil {
			return name
		}
	}
	return ""
}

var userPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,30}$`)

// check refuses what cannot work, and fills in the user.
func (c Config) check() (Config, error) {
	if err := daemon.CheckSocketPath("Dir", layout{dir: c.Dir}.socket()); err != nil {
		return c, err
	}
	for _, b := range bound {
		if c.Dir == b.inside || strings.HasPrefix(c.Dir, b.inside+"/") {
			return c, daemon.AtField("Dir", "Dir is below %s, which it is to stand for: %w", b.inside, errdefs.ErrInvalidArgument)
		}
	}
	if c.User == "" {
		c.User = DefaultUser()
		return c, nil
	}
	if !userPattern.MatchString(c.User) {
		return c, daemon.AtField("User", "User %q is not the name of a user: %w", c.User, errdefs.ErrInvalidArgument)
	}
	if _, err := user.Lookup(c.User); err != nil {
		return c, daemon.AtField("User", "User %s: %w: %w", c.User, errdefs.ErrNotFound, err)
	}
	return c, nil
}

// bound are the parts of the folder, and what the daemon calls them.
var bound = []struct{ name, inside string }{
	{"run", "/run/libvirt"},
	{"lib", "/var/lib/libvirt"},
	{"cache", "/var/cache/libvirt"},
	{"log", "/var/log/libvirt"},
	{"etc", "/etc/libvirt"},
}

// layout is where things lie in the folder.
type layout struct {
	dir string
}

func (l layout) run() string    { return filepath.Join(l.dir, "run") }
func (l layout) etc() string    { return filepath.Join(l.dir, "etc") }
func (l layout) bin() string    { return filepath.Join(l.dir, "bin") }
func (l layout) boot() string   { return filepath.Join(l.dir, "boot") }
func (l layout) socket() string { return filepath.Join(l.run(), "libvirt-sock") }

// uri is the address for libvirt's client library.
func (l layout) uri() string {
	return "qemu+unix:///system?" + url.Values{"socket": {l.socket()}}.Encode()
}

// inside is what the daemon calls a path of the folder.
func (l layout) inside(path string) string {
	for _, b := range bound {
		if moved, ok := move(path, filepath.Join(l.dir, b.name), b.inside); ok {
			return moved
		}
	}
	return path
}

// outside is the path of what the daemon calls so.
func (l layout) outside(path string) string {
	for _, b := range bound {
		if moved, ok := move(path, b.inside, filepath.Join(l.dir, b.name)); ok {
			return moved
		}
	}
	return path
}

// move replaces the folder from, with which path begins, by the folder to.
func move(path, from, to string) (string, bool) {
	rest, ok := strings.CutPrefix(path, from)
	return to + rest, ok && (rest == "" || rest[0] == '/')
}
