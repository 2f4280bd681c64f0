package libvirtd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/internal/daemon"
	"github.com/univirt/univirt/internal/keeper"
)

// install tells how to get what is missing.
const install = "install libvirt's daemon with its QEMU driver, for example with " +
	"`apt-get install libvirt-daemon-system qemu-system-x86` (Debian, Ubuntu), " +
	"`dnf install libvirt-daemon libvirt-daemon-driver-qemu libvirt-daemon-log qemu-kvm` (Fedora) or " +
	"`apk add libvirt-daemon libvirt-qemu qemu-system-x86_64` (Alpine)"

// Daemon is one use of a private libvirtd. Beside its own methods it has Close,
// Stop, Status and Health of the embedded value; the process that they speak of is
// the parent of libvirtd.
type Daemon struct {
	*daemon.Daemon
	layout  layout
	version *atomic.Value
}

// Start returns a libvirtd whose QEMU driver answers on the socket in config.Dir:
// the one that runs there, else a new one. Beside the errors of daemon.Start it
// fails with InvalidArgument if a path in Dir would be too long for a socket, with
// PermissionDenied if the caller is not root, with NotFound, which says what to
// install, if a program is missing, and with [errors.ErrUnsupported] where there is
// no helper for the platform.
func Start(ctx context.Context, config Config) (*Daemon, error) {
	d, err := start(ctx, config)
	return d, daemon.Starting(Name, config.Dir, err)
}

func start(ctx context.Context, config Config) (*Daemon, error) {
	if uid := os.Geteuid(); uid != 0 {
		return nil, fmt.Errorf("only root can start libvirtd, this is uid %d; run as root or connect to a libvirtd that runs: %w",
			uid, errdefs.ErrPermissionDenied)
	}
	config, err := config.check()
	if err != nil {
		return nil, err
	}
	found, err := find(config.Binary, os.Getenv("PATH"))
	if err != nil {
		return nil, err
	}
	d := &Daemon{layout: layout{dir: config.Dir}, version: new(atomic.Value)}
	d.Daemon, err = daemon.Start(ctx, daemon.Config{
		Dir:  config.Dir,
		Name: Name,
		Command: func(ctx context.Context) (_ []string, err error) {
			if config.DecideKVM != nil {
				if config.HideKVM, err = config.DecideKVM(ctx); err != nil {
					return nil, err
				}
			}
			return prepare(config, found)
		},
		Env:          []string{"PATH=" + found.path},
		Ready:        d.probe,
		StartTimeout: config.StartTimeout,
		Grace:        config.Grace,
		Restarts:     config.Restarts,
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}

// programs are the programs that a private daemon needs.
type programs struct {
	libvirtd, virtlogd string
	// path is the PATH of the daemon, which finds QEMU, dnsmasq and iptables in it.
	path string
}

// find looks for the programs. The error is NotFound and says what to install.
func find(binary, path string) (programs, error) {
	folders := daemon.SearchPath(path)
	if binary == "" {
		found, err := daemon.Look(Name, folders, install)
		if err != nil {
			return programs{}, err
		}
		binary = found
	} else if !filepath.IsAbs(binary) {
		return programs{}, daemon.AtField("Binary", "Binary %q is not an absolute path: %w", binary, errdefs.ErrInvalidArgument)
	} else if !daemon.Executable(binary) {
		return programs{}, daemon.AtField("Binary", "Binary %s is not an executable file: %w; %s", binary, errdefs.ErrNotFound, install)
	}
	virtlogd, err := daemon.Look("virtlogd", append([]string{filepath.Dir(binary)}, folders...), install)
	if err != nil {
		return programs{}, err
	}
	return programs{libvirtd: binary, virtlogd: virtlogd, path: strings.Join(folders, string(filepath.ListSeparator))}, nil
}

// prepare fills the folder with what a daemon needs that is about to start, and
// returns the command line of its parent.
func prepare(config Config, found programs) ([]string, error) {
	l := layout{dir: config.Dir}
	if err := daemon.DropAfterBoot(l.boot(), l.run()); err != nil {
		return nil, err
	}
	// QEMU's user goes through these on the paths that libvirt knows; the folder
	// itself it cannot enter.
	for _, b := range bound {
		if err := makeFolder(filepath.Join(l.dir, b.name), 0o755); err != nil {
			return nil, err
		}
	}
	if err := makeFolder(filepath.Join(l.dir, "empty"), 0o555); err != nil {
		return nil, err
	}
	// What stands for /dev/kvm cannot be opened but by root.
	nothing, err := os.OpenFile(filepath.Join(l.dir, "nothing"), os.O_RDONLY|os.O_CREATE, 0)
	if err != nil {
		return nil, err
	}
	_ = nothing.Close()
	for name, text := range settings(config) {
		if err := os.WriteFile(filepath.Join(l.etc(), name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	helper, err := keeper.Install(l.bin())
	if err != nil {
		return nil, err
	}
	return keeper.LibvirtdCommand(helper, keeper.LibvirtdOptions{
		Dir:            l.dir,
		Libvirtd:       found.libvirtd,
		Virtlogd:       found.virtlogd,
		HideKVM:        config.HideKVM,
		PrivateNetwork: config.PrivateNetwork,
	})
}

// makeFolder makes a folder of that mode, whatever the umask is.
func makeFolder(path string, mode fs.FileMode) error {
	err := os.Mkdir(path, mode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

func (d *Daemon) probe(ctx context.Context) error {
	version, err := AskVersion(ctx, d.layout.socket())
	if err != nil {
		return err
	}
	d.version.Store(version)
	return nil
}

// Socket is the path of the daemon's socket.
func (d *Daemon) Socket() string { return d.layout.socket() }

// URI is the address of the daemon for libvirt's client library and for virsh.
func (d *Daemon) URI() string { return d.layout.uri() }

// Version is the release of libvirt that the daemon reported when it was last
// found ready, such as "9.0.0".
func (d *Daemon) Version() string { return d.version.Load().(string) }

// Inside is what the daemon, and QEMU, call a file whose path below the folder is
// given: "DIR/lib/images/a" is "/var/lib/libvirt/images/a". QEMU's user cannot
// enter the folder on the path outside. Any other path is returned as it is.
func (d *Daemon) Inside(path string) string { return d.layout.inside(path) }

// Outside is the path, for this program, of a file that the daemon calls so, the
// reverse of Inside.
func (d *Daemon) Outside(path string) string { return d.layout.outside(path) }

// NetworkNamespace is the path of the daemon's network namespace, such as
// "/proc/123/ns/net", or empty while the daemon does not run. It is the host's
// unless the daemon was started with PrivateNetwork. It holds for as long as the
// process of Status.
func (d *Daemon) NetworkNamespace() string {
	status, _ := d.Status()
	if status.PID == 0 {
		return ""
	}
	return filepath.Join("/proc", strconv.Itoa(status.PID), "ns", "net")
}

// Destroy closes this value and then does what the function [Destroy] does.
func (d *Daemon) Destroy(ctx context.Context) error {
	if err := d.Close(ctx, false); err != nil {
		return err
	}
	return Destroy(ctx, d.layout.dir)
}

// Destroy ends everything that a private libvirtd of dir runs and removes
// everything that it keeps: daemons, VMs, what serves them, their cgroups, and
// files. It works after a crash as well, and may be repeated. The error is
// FailedPrecondition if a value is open on dir, or if dir was not made by [Start].
func Destroy(ctx context.Context, dir string) error {
	return daemon.Remove(ctx, daemon.RemoveOptions{
		Dir:   dir,
		Name:  Name,
		Clean: func(ctx context.Context) error { return endInhabitants(ctx, layout{dir: dir}) },
	})
}
