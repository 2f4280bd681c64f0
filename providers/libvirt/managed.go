//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/univirt/univirt/internal/daemon/libvirtd"
	"github.com/univirt/univirt/internal/kvm"
)

// consoleFolder is the folder of a managed daemon for what guests write.
const consoleFolder = "/var/log/libvirt/consoles"

// local reports whether the hypervisor is on this host.
func (o Options) local() bool {
	u, err := url.Parse(o.URI)
	return err == nil && u.Host == "" && u.Scheme != "test"
}

// elsewhere reports whether the hypervisor is on another host, where this one has no
// files.
func (p *Provider) elsewhere() bool { return !p.inProcess() && !p.opts.local() }

// acceleration is what was found out about this host's.
type acceleration struct {
	// probed says that it was, and usable what came of it.
	probed, usable bool
	reason         string
}

// probe finds out whether KVM is of use, where that is to be decided on this host.
func probe(ctx context.Context, opts Options, user string) (acceleration, error) {
	if opts.Acceleration != AccelerationAuto || !opts.local() {
		return acceleration{}, nil
	}
	found, err := kvm.Probe(ctx, kvm.Options{Dir: opts.StateDir, User: user})
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return acceleration{}, nil
	case err != nil:
		return acceleration{}, fmt.Errorf("find out whether KVM is of use: %w", err)
	}
	return acceleration{probed: true, usable: found.Usable, reason: found.Reason}, nil
}

// manage starts the daemon where it is a managed one, and sets by what it is reached.
func (p *Provider) manage(ctx context.Context) error {
	m := p.opts.Managed
	if m == nil {
		return p.prepare(ctx)
	}
	var err error
	p.daemon, err = libvirtd.Start(ctx, libvirtd.Config{
		Dir: m.Dir, Binary: m.Binary, PrivateNetwork: m.PrivateNetwork, StartTimeout: m.StartTimeout,
		DecideKVM: func(ctx context.Context) (bool, error) {
			err := p.prepare(ctx)
			return p.opts.Acceleration == AccelerationNone || p.accel.probed && !p.accel.usable, err
		},
	})
	if done := ended(ctx); err != nil && done != nil {
		return fmt.Errorf("managed: %w: %v", done, err)
	}
	if err != nil {
		return atField("managed", err)
	}
	if err := p.makeState(); err != nil {
		return err
	}
	p.opts.URI = p.daemon.URI()
	if p.opts.ConsoleDir == "" {
		p.opts.ConsoleDir = consoleFolder
		if err := os.MkdirAll(p.daemon.Outside(consoleFolder), 0o700); err != nil {
			return atField("managed.dir", err)
		}
	}
	return nil
}

// prepare makes the folder for state and finds out what KVM is worth.
func (p *Provider) prepare(ctx context.Context) (err error) {
	if err := p.makeState(); err != nil {
		return err
	}
	user := ""
	if os.Geteuid() == 0 {
		user = libvirtd.DefaultUser()
	}
	p.accel, err = probe(ctx, p.opts, user)
	return err
}

// consoleLog is the file that has what an instance's guest writes, as this process
// names it; empty where there is none on this host.
func (p *Provider) consoleLog(id string) string {
	switch {
	case p.hyper.consoles == "" || !p.opts.local():
		return ""
	case p.daemon != nil:
		return p.daemon.Outside(p.hyper.consoleLog(id))
	}
	return p.hyper.consoleLog(id)
}

// hasUnified reports whether the hierarchy of cgroups at the folder is that of version
// 2. Another host is taken for one that has it, as all but old ones do.
func hasUnified(folder string) bool {
	_, err := os.Stat(filepath.Join(folder, "cgroup.controllers"))
	return err == nil
}
