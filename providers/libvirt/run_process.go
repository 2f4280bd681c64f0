//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"bytes"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/internal/netns"
	"github.com/univirt/univirt/internal/pidfd"
	"github.com/univirt/univirt/resource"
)

// runProcess opens the process of a domain's run, which is QEMU's, on this host;
// fs.ErrNotExist where there is none.
func (p *Provider) runProcess(d *domain) (*os.File, int, error) {
	is := func(pid int) bool { return runsDomain(pid, d.id) }
	pid, err := p.notedProcess(d.facts.name)
	if errors.Is(err, fs.ErrPermission) {
		// What the system's libvirt notes is for root.
		pid, err = pidfd.Find(is), nil
	}
	if err != nil {
		return nil, 0, err
	}
	f, err := pidfd.Open(pid, is)
	return f, pid, err
}

// notedProcess is the number of the process that libvirt has noted for a domain.
func (p *Provider) notedProcess(name string) (int, error) {
	folder := p.runFolder()
	if folder == "" {
		return 0, fs.ErrPermission
	}
	text, err := os.ReadFile(filepath.Join(folder, filepath.Base(name)+".pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// runsDomain reports whether a process is the QEMU of a domain.
func runsDomain(pid int, id string) bool {
	line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	return err == nil && bytes.Contains(line, []byte("\x00-uuid\x00"+id+"\x00"))
}

// runFolder is where libvirt's driver for QEMU notes what runs, as this process
// names it.
func (p *Provider) runFolder() string {
	const system = "/run/libvirt/qemu"
	if p.daemon != nil {
		return p.daemon.Outside(system)
	}
	u, err := url.Parse(p.opts.URI)
	switch {
	case err != nil:
		return ""
	case u.Path == "/system":
		return system
	case u.Path == "/session" && os.Getenv("XDG_RUNTIME_DIR") != "":
		return filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "libvirt/qemu/run")
	}
	return ""
}

// unreachable says why no port of a machine can be reached from here; empty where one
// can.
func (p *Provider) unreachable() string {
	switch {
	case p.inProcess():
		return noGuests
	case !p.opts.local():
		return "the machine's network is on the hypervisor's host"
	case runtime.GOOS != "linux":
		return "needs Linux"
	}
	return ""
}

// noNetworks is the reason that holds for a provider; empty where there are networks.
func (p *Provider) noNetworks() string {
	switch {
	case p.inProcess():
		return noServers
	case p.opts.local() && p.daemon == nil && os.Geteuid() != 0 && strings.HasSuffix(p.opts.URI, "/session"):
		return noRights
	}
	return ""
}

// namespace opens the network namespace of the machines; nil where it is this
// process's own.
func (p *Provider) namespace() (*os.File, error) {
	if p.daemon == nil {
		return nil, nil
	}
	path := p.daemon.NetworkNamespace()
	if path == "" {
		return nil, resource.Errorf(errdefs.ErrUnavailable, "the managed libvirtd does not run")
	}
	return netns.Open(path)
}
