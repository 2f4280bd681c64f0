//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/outlive"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// plugOther gives an instance an endpoint of another provider's network. That knows
// nothing of it, so the instance's record is what holds the endpoint, and the caller
// has it locked until the record is written.
func (p *Provider) plugOther(ctx context.Context, id, name, wanted string) (netUse, error) {
	info, err := network.FindEndpoint(outlive.Asked(ctx), wanted, p.opts.OtherNetworks...)
	switch {
	case outlive.Asked(ctx).Err() != nil:
		return netUse{}, givenUp(ctx)
	case isNotFound(err):
		return netUse{}, errNoEndpoint()
	case err != nil:
		return netUse{}, ofOther(err)
	}
	if err := p.pluggableEndpoint(info, p.ref(resource.KindInstance, name, id)); err != nil {
		return netUse{}, err
	}
	return useOf(info), p.unused(ctx, wanted)
}

// ofOther is the error of another provider's value. That it is closed says nothing of
// this one.
func ofOther(err error) error {
	if errors.Is(err, resource.ErrClosed) {
		return resource.Errorf(errdefs.ErrUnavailable, "the network of the endpoint cannot be asked: %v", err)
	}
	return err
}

// pluggableEndpoint finds what keeps an instance from having an endpoint of another
// provider's network.
func (p *Provider) pluggableEndpoint(info network.EndpointInfo, instance resource.Ref) error {
	bridge := info.Attachment.Bridge
	switch {
	case !info.Admits(instance):
		return resource.Errorf(errdefs.ErrFailedPrecondition, "the endpoint is meant for %s", info.For.Label())
	case info.PluggedIn:
		return resource.Errorf(errdefs.ErrFailedPrecondition, "another instance runs with the endpoint")
	case bridge == "":
		return resource.Errorf(errdefs.ErrFailedPrecondition, "the network of the endpoint is made of no bridge of this host")
	case p.unreachable() != "":
		return resource.Errorf(errdefs.ErrFailedPrecondition, "the network of the endpoint is on this host, and the hypervisor is on another")
	case len(info.MAC) == 0 || network.CheckMAC(info.MAC) != "":
		return resource.Errorf(errdefs.ErrFailedPrecondition, "the endpoint has no hardware address that a machine could have")
	}
	there, err := p.hasInterface(bridge)
	if err == nil && !there {
		err = resource.Errorf(errdefs.ErrFailedPrecondition, "there is no bridge %s where the hypervisor runs", resource.Quote(bridge))
	}
	return err
}

// procNet is the folder in which the kernel of this host tells of the machines' network.
func (p *Provider) procNet() (string, error) {
	if p.unreachable() != "" {
		return "", errors.ErrUnsupported
	}
	if p.daemon == nil {
		return "/proc/self/net", nil
	}
	// It may have a network of its own.
	namespace := p.daemon.NetworkNamespace()
	if namespace == "" {
		return "", resource.Errorf(errdefs.ErrUnavailable, "the managed libvirtd does not run")
	}
	return filepath.Join(filepath.Dir(filepath.Dir(namespace)), "net"), nil
}

// hasInterface reports whether there is a network interface where the machines are.
func (p *Provider) hasInterface(name string) (bool, error) {
	dir, err := p.procNet()
	if err != nil {
		return false, err
	}
	table, err := os.ReadFile(filepath.Join(dir, "dev"))
	return slices.Contains(interfaceNames(string(table)), name), err
}

// users are the instances of all namespaces that have endpoints which their network
// does not know to be theirs, by the endpoints' IDs.
func users(all []*domain) map[string]*domain {
	found := map[string]*domain{}
	for _, d := range all {
		if d.facts.record == nil {
			continue
		}
		for _, use := range d.facts.record.Nets {
			if use.Other != nil {
				found[use.Endpoint] = d
			}
		}
	}
	return found
}

// unused fails where an instance of the hypervisor has an endpoint that may be another
// namespace's.
func (p *Provider) unused(ctx context.Context, endpoint string) error {
	all, err := p.readAll(ctx)
	if err != nil {
		return err
	}
	for _, d := range all {
		if d.facts.record != nil && uses(d.facts.record.Nets, endpoint) {
			return resource.Errorf(errdefs.ErrFailedPrecondition, "instance %s has the endpoint", d.id)
		}
	}
	return nil
}

// lockedEndpoints does something while no other process of this host gives anybody the
// endpoints of some attachments.
func (p *Provider) lockedEndpoints(ctx context.Context, attachments []compute.NetworkAttachment, do func() error) error {
	var ids []string
	for _, a := range attachments {
		if a.Endpoint != "" {
			ids = append(ids, a.Endpoint)
		}
	}
	return p.lockedAll(ctx, ids, do)
}

// askOther reads an endpoint of another provider's network; nil where the value of that
// provider is not there, or does not answer. One that the network does not have any more
// is NotFound.
func (p *Provider) askOther(ctx context.Context, use netUse) (*network.EndpointInfo, error) {
	for _, other := range p.opts.OtherNetworks {
		info, err := other.Handle(use.Network).Endpoint(use.Endpoint).Info(ctx)
		if err == nil {
			return &info, nil
		}
		if !isNotFound(err) {
			continue
		}
		if _, err := other.Get(ctx, use.Network); err == nil {
			return nil, errNoEndpoint()
		}
	}
	return nil, nil
}

// tellOther tells of an endpoint of another provider's network that a machine has.
func (p *Provider) tellOther(ctx context.Context, use netUse, d *domain, known *segments) network.EndpointInfo {
	info := use.recorded()
	info.PluggedIn = d.state.Active()
	if known.mute {
		return info
	}
	short, cancel := context.WithTimeout(ctx, agentAnswer)
	defer cancel()
	told, err := p.askOther(short, use)
	known.mute = short.Err() != nil
	switch {
	case err != nil:
		info.Addresses, info.Source, info.Reason = nil, "", "the network has released the endpoint"
	case told != nil:
		info = *told
		info.PluggedIn = d.state.Active()
	}
	return info
}

// checkOthers finds what keeps a machine from beginning a run with the endpoints that it
// has of other providers' networks, as far as those are there to tell it.
func (p *Provider) checkOthers(ctx context.Context, r *record) error {
	ctx, cancel := context.WithTimeout(ctx, agentAnswer)
	defer cancel()
	for n, use := range r.Nets {
		if use.Other == nil {
			continue
		}
		told, err := p.askOther(ctx, use)
		switch {
		case err != nil:
			err = resource.Errorf(errdefs.ErrFailedPrecondition, "the network has released the endpoint, and may give its address to another")
		case told != nil && told.PluggedIn:
			err = resource.Errorf(errdefs.ErrFailedPrecondition, "another instance runs with the endpoint")
		}
		if err != nil {
			return atField(fmt.Sprintf("networks[%d].endpoint", n), err)
		}
	}
	return nil
}

// other reports whether an endpoint is one of another provider's network.
func (r *record) other(endpoint string) bool {
	return slices.ContainsFunc(r.Nets, func(u netUse) bool { return u.Other != nil && u.Endpoint == endpoint })
}

// share reports whether an address is in both lists, whatever the subnets.
func share(a, b []netip.Prefix) bool {
	return slices.ContainsFunc(a, func(x netip.Prefix) bool {
		return slices.ContainsFunc(b, func(y netip.Prefix) bool { return x.Addr() == y.Addr() })
	})
}

// interfaceNames are those of the table in /proc/PID/net/dev.
func interfaceNames(table string) (all []string) {
	for line := range strings.Lines(table) {
		if name, _, ok := strings.Cut(line, ":"); ok {
			all = append(all, strings.TrimSpace(name))
		}
	}
	return all
}
