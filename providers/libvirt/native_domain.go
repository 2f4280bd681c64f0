//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"

	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// Domain returns the domain of an instance, with a connection of its own, which ends
// with the domain's Free. The caller must call that, and use the domain from one
// goroutine at a time; it is good until the daemon restarts. It is not portable.
//
// An instance of another provider is errors.ErrUnsupported, and one that is gone
// NotFound. The context bounds the look-up; calls on the domain know no contexts.
func Domain(ctx context.Context, inst compute.Instance) (*lv.Domain, error) {
	i, ok := resource.As[*instance](inst)
	if !ok {
		return nil, resource.Fail("domain", resource.Ref{}, resource.Unsupported("domain", "the instance is not libvirt's"))
	}
	ctx, done, err := i.p.begin(ctx)
	if err != nil {
		return nil, i.fail("domain", err)
	}
	defer done()
	if _, err := i.load(ctx); err != nil {
		return nil, i.fail("domain", err)
	}
	type answer struct {
		domain *lv.Domain
		err    error
	}
	answered := make(chan answer)
	i.p.detached.Go(func() {
		d, err := i.p.lookUpApart(ctx, i.id)
		select {
		case answered <- answer{d, err}:
		case <-ctx.Done():
			if err == nil {
				_ = d.Free()
			}
		}
	})
	select {
	case a := <-answered:
		if a.err != nil {
			return nil, i.fail("domain", translate(a.err))
		}
		return a.domain, nil
	case <-ctx.Done():
		return nil, i.fail("domain", ended(ctx))
	}
}

// lookUpApart looks a domain up by a connection that it alone keeps open.
func (p *Provider) lookUpApart(ctx context.Context, id string) (*lv.Domain, error) {
	if p.inProcess() {
		// Another connection to a hypervisor of a file is to another hypervisor. A
		// domain keeps this one open.
		return call(ctx, p, func(c *lv.Connect) (*lv.Domain, error) { return c.LookupDomainByUUIDString(id) })
	}
	conn, err := p.link.another()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.LookupDomainByUUIDString(id)
}
