//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/internal/filelock"
	"github.com/univirt/univirt/internal/forward"
	"github.com/univirt/univirt/internal/keeper"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

func (p *Provider) portsPath(id string) string { return filepath.Join(p.opts.StateDir, id+portsSuffix) }

// publication is a port that is published, with its place in the spec.
type publication struct {
	network.Port
	at int
}

func (r *record) publications() (all []publication) {
	for n, port := range r.spec.Ports {
		if !port.Publish {
			continue
		}
		if port.Protocol == "" {
			port.Protocol = network.TCP
		}
		if !port.HostIP.IsValid() {
			port.HostIP = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		all = append(all, publication{port, n})
	}
	return all
}

// published are the ports that an instance publishes, with those of the host that
// were chosen for its run.
func (p *Provider) published(d *domain) (ports []network.Port) {
	all := d.facts.record.publications()
	if len(all) == 0 {
		return nil
	}
	if !d.state.Active() {
		for _, port := range all {
			ports = append(ports, d.facts.record.spec.Ports[port.at])
		}
		return ports
	}
	chosen := p.chosenPorts(d.id, len(all))
	for n, port := range all {
		if chosen != nil {
			port.Host = chosen[n]
		}
		ports = append(ports, port.Port)
	}
	return ports
}

// chosenPorts are the ports of the host that the last helper took; nil where there
// was none.
func (p *Provider) chosenPorts(id string, want int) []uint16 {
	content, err := os.ReadFile(p.portsPath(id))
	if ports := keeper.ForwardedPorts(content); err == nil && len(ports) == want {
		return ports
	}
	return nil
}

// publish takes the ports of the host that an instance publishes, all or none; nil
// where it publishes none. What has them gives them back if it follows no run.
func (p *Provider) publish(ctx context.Context, d *domain) (*keeper.Forward, error) {
	all := d.facts.record.publications()
	if len(all) == 0 {
		return nil, nil
	}
	addresses, err := p.addressesOf(ctx, d)
	if err != nil {
		return nil, err
	}
	if len(addresses) == 0 {
		return nil, &resource.Error{Kind: errdefs.ErrFailedPrecondition, Field: fmt.Sprintf("ports[%d].publish", all[0].at), Err: errors.New(noAddress)}
	}
	helper, err := keeper.Install(p.opts.StateDir)
	if err != nil {
		return nil, atField("stateDir", resource.Errorf(errdefs.ErrFailedPrecondition, "%w", err))
	}
	o := keeper.ForwardOptions{File: p.portsPath(d.id), Name: d.facts.name, Mark: d.id}
	if p.daemon != nil {
		o.Namespace = p.daemon.NetworkNamespace()
	}
	for _, port := range all {
		rule := forward.Rule{Protocol: string(port.Protocol), Listen: netip.AddrPortFrom(port.HostIP, port.Host)}
		for _, a := range addresses {
			rule.To = append(rule.To, netip.AddrPortFrom(a, port.Instance))
		}
		o.Rules = append(o.Rules, rule)
	}
	// What was chosen before is tried first.
	last := p.chosenPorts(d.id, len(all))
	for {
		if last != nil {
			for n, port := range all {
				if port.Host == 0 {
					o.Rules[n].Listen = netip.AddrPortFrom(port.HostIP, last[n])
				}
			}
		}
		f, err := keeper.StartForward(ctx, helper, o)
		var taken *keeper.TakenError
		if !errors.As(err, &taken) || taken.Rule >= len(all) {
			return f, err
		}
		port := all[taken.Rule]
		if port.Host != 0 || o.Rules[taken.Rule].Listen.Port() == 0 {
			return nil, cannotTake(port, taken.Err)
		}
		last[taken.Rule] = 0
	}
}

// cannotTake names the field at fault where a port of the host cannot be taken.
func cannotTake(port publication, err error) error {
	out := &resource.Error{Field: fmt.Sprintf("ports[%d].host", port.at), Err: err}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		out.Kind, out.Err = errdefs.ErrAlreadyExists, fmt.Errorf("port %d of the host is taken", port.Host)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		out.Kind = errdefs.ErrPermissionDenied
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		out.Kind, out.Field = errdefs.ErrFailedPrecondition, fmt.Sprintf("ports[%d].hostIP", port.at)
		out.Err = fmt.Errorf("%s is no address of the host", port.HostIP)
	}
	return out
}

// publishNext is publish for a run that is about to begin: that of the last one may
// just be giving them back.
func (p *Provider) publishNext(ctx context.Context, d *domain) (*keeper.Forward, error) {
	for {
		f, err := p.publish(ctx, d)
		if !errors.Is(err, keeper.ErrForwarded) {
			return f, err
		}
		lock, err := filelock.Acquire(ctx, p.portsPath(d.id), filelock.Exclusive)
		if err != nil {
			return nil, err
		}
		lock.Release()
	}
}

// follow has ports forwarded for as long as the run lasts. That it is over already is
// no error.
func (p *Provider) follow(ctx context.Context, d *domain, f *keeper.Forward) error {
	run, pid, err := p.runProcess(d)
	if errors.Is(err, fs.ErrNotExist) {
		f.Abandon()
		return nil
	}
	if err != nil {
		f.Abandon()
		return err
	}
	defer run.Close()
	return f.Follow(ctx, pid)
}

// followed is follow for a run that has begun, whether or not that succeeds: the next
// look at the instance tries it again.
func (i *instance) followed(ctx context.Context, d *domain, f *keeper.Forward) {
	if err := i.p.follow(ctx, d, f); err != nil {
		i.p.opts.Logger.Warn("the published ports are not forwarded", "instance", i.id, "error", err)
	}
}

// keepPublished forwards the ports of a machine that runs, if what did so was killed.
func (p *Provider) keepPublished(ctx context.Context, d *domain) {
	if d.facts.record == nil || !d.state.Active() || p.hyper.unreachable != "" || len(d.facts.record.publications()) == 0 {
		return
	}
	if held, err := filelock.Held(p.portsPath(d.id)); held || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return
	}
	f, err := p.publish(ctx, d)
	if err == nil {
		err = p.follow(ctx, d, f)
	}
	if err != nil && !errors.Is(err, keeper.ErrForwarded) && ctx.Err() == nil {
		p.opts.Logger.Warn("the published ports are not forwarded", "instance", d.id, "error", err)
	}
}

// removePorts removes what is left of ports that were published, when what forwards
// them has ended.
func (p *Provider) removePorts(ctx context.Context, id string) error {
	path := p.portsPath(id)
	if _, err := os.Lstat(path); err != nil {
		return nil
	}
	lock, err := filelock.Acquire(ctx, path, filelock.Exclusive)
	if err != nil {
		return err
	}
	lock.Remove()
	return nil
}

// ports takes what is left of ports whose instance is gone.
func (s *sweep) ports(ctx context.Context) error {
	if s.opts.Owner != "" {
		return nil
	}
	for _, id := range s.published {
		if s.here[id] {
			continue
		}
		if held, err := filelock.Held(s.p.portsPath(id)); held || err != nil {
			continue
		}
		s.Take(ctx, s.p.ref(kindPorts, "", id), func() error { return releaseDead(s.p.portsPath(id)) })
	}
	return nil
}
