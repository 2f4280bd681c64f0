//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"

	"github.com/containerd/errdefs"
	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/resource"
)

// call makes one call to libvirt, and returns when it has answered, the context
// has ended or the connection is lost. Libvirt knows no contexts: a call that is
// left alone goes on, and its outcome is not known.
func call[T any](ctx context.Context, p *Provider, do func(*lv.Connect) (T, error)) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, ended(ctx)
	}
	s, err := p.link.session(ctx)
	if err != nil {
		return none, err
	}
	leave, ok := s.enter()
	if !ok {
		return none, resource.Errorf(errdefs.ErrUnavailable, "%w", errLost)
	}
	if p.line != nil {
		do = broken(p.line, do)
	}
	conn, err := s.lane(ctx)
	if err != nil {
		leave()
		return none, err
	}
	type answer struct {
		value T
		err   error
	}
	answered := make(chan answer, 1)
	p.detached.Go(func() {
		defer leave()
		if conn == nil {
			if conn, err = p.link.another(); err != nil {
				s.leave(nil)
				answered <- answer{none, err}
				return
			}
		}
		value, err := do(conn)
		s.leave(conn)
		answered <- answer{value, err}
	})
	select {
	case a := <-answered:
		if a.err != nil {
			return a.value, translate(a.err)
		}
		return a.value, nil
	case <-ctx.Done():
		return none, ended(ctx)
	case <-s.lost:
		// An answer may have come with the end.
		select {
		case a := <-answered:
			if a.err == nil {
				return a.value, nil
			}
		default:
		}
		return none, &resource.Error{Kind: errdefs.ErrUnavailable, Err: errLost, Outcome: resource.OutcomeUnknown}
	}
}

// line is a connection that breaks where a test says so: whether the next call is
// made, and whether it is answered.
type line interface{ next() (made, answered bool) }

func broken[T any](l line, do func(*lv.Connect) (T, error)) func(*lv.Connect) (T, error) {
	return func(c *lv.Connect) (value T, err error) {
		made, answered := l.next()
		if made {
			value, err = do(c)
		}
		if !answered {
			var none T
			return none, lv.Error{Code: lv.ERR_INTERNAL_ERROR, Message: "client socket is closed"}
		}
		return value, err
	}
}

// act is call for what returns an error only.
func act(ctx context.Context, p *Provider, do func(*lv.Connect) error) error {
	_, err := call(ctx, p, func(c *lv.Connect) (struct{}, error) { return struct{}{}, do(c) })
	return err
}

// onDomain makes a call on the domain of an ID. It is looked up each time: a
// domain's handle does not outlive its connection.
func onDomain[T any](ctx context.Context, p *Provider, id string, do func(*lv.Domain) (T, error)) (T, error) {
	return call(ctx, p, func(c *lv.Connect) (T, error) {
		var none T
		d, err := c.LookupDomainByUUIDString(id)
		if err != nil {
			return none, err
		}
		defer d.Free()
		return do(d)
	})
}

// onOwned makes a call on the domain of an instance that may be changed, with what its
// description says of it: all in one go, where each question for itself would take as
// long as the next.
func onOwned[T any](ctx context.Context, i *instance, do func(*lv.Domain, *facts) (T, error)) (T, error) {
	return call(ctx, i.p, func(c *lv.Connect) (out T, err error) {
		defer func() {
			if errors.Is(err, lv.ERR_NO_DOMAIN) {
				err = errNotFound()
			}
		}()
		d, err := c.LookupDomainByUUIDString(i.id)
		if err != nil {
			return out, err
		}
		defer d.Free()
		description, err := d.GetXMLDesc(lv.DOMAIN_XML_INACTIVE)
		if err != nil {
			return out, err
		}
		f, err := readFacts(description)
		if err == nil {
			err = i.meet(f)
		}
		if err == nil {
			err = f.owned()
		}
		if err != nil {
			return out, err
		}
		return do(d, f)
	})
}
