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
	return onLane(ctx, p, func(l *lane) (T, error) { return do(l.conn) })
}

// onLane is call for what makes use of more than the connection.
func onLane[T any](ctx context.Context, p *Provider, do func(*lane) (T, error)) (T, error) {
	var none T
	if err := straysOf(ctx).await(ctx); err != nil {
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
	l, err := s.lane(ctx)
	if err != nil {
		leave()
		return none, err
	}
	answered, over := make(chan answer[T], 1), make(chan struct{})
	p.detached.Go(func() {
		defer leave()
		defer close(over)
		answered <- use(p, s, l, do)
	})
	select {
	case a := <-answered:
		if a.err != nil {
			return a.value, translate(a.err)
		}
		return a.value, nil
	case <-ctx.Done():
		straysOf(ctx).add(over)
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

// answer is what came of a call.
type answer[T any] struct {
	value T
	err   error
}

// use makes a call on a lane of a session, which is opened where it is nil, and gives
// the lane back.
func use[T any](p *Provider, s *session, l *lane, do func(*lane) (T, error)) (a answer[T]) {
	defer func() { s.leave(l) }()
	if l == nil {
		conn, err := p.link.another()
		if err != nil {
			a.err = err
			return a
		}
		l = &lane{session: s, conn: conn}
	}
	a.value, a.err = do(l)
	return a
}

// beside makes a call while another is under way, on a lane of its own; where all have
// calls, which may wait for further ones too, when the answer is wanted, on the one that
// asks. What it returns gives the answer, and must be called.
func beside[T any](p *Provider, l *lane, do func(*lane) (T, error)) func() (T, error) {
	other, ok := l.session.vacant()
	if !ok {
		return func() (T, error) { return do(l) }
	}
	if p.line != nil {
		do = broken(p.line, do)
	}
	answered := make(chan answer[T], 1)
	p.detached.Go(func() { answered <- use(p, l.session, other, do) })
	return func() (T, error) {
		a := <-answered
		return a.value, a.err
	}
}

// line is a connection that breaks where a test says so. It makes a call, or does not,
// and reports whether it was answered.
type line interface {
	do(call func()) (answered bool)
}

func broken[A, T any](l line, do func(A) (T, error)) func(A) (T, error) {
	return func(c A) (value T, err error) {
		if !l.do(func() { value, err = do(c) }) {
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

// onDomain makes a call on the domain of an ID. Its handle is the lane's.
func onDomain[T any](ctx context.Context, p *Provider, id string, do func(*lv.Domain) (T, error)) (T, error) {
	return onLane(ctx, p, func(l *lane) (T, error) {
		d, err := l.lookUp(id)
		if err != nil {
			var none T
			return none, err
		}
		return do(d)
	})
}

// inOneGo makes calls for an instance in one go, where each for itself would take as
// long as the next.
func inOneGo[T any](ctx context.Context, i *instance, do func(*lane) (T, error)) (T, error) {
	return onLane(ctx, i.p, func(l *lane) (out T, err error) {
		defer func() {
			if errors.Is(err, lv.ERR_NO_DOMAIN) {
				err = errNotFound()
			}
		}()
		return do(l)
	})
}

// owned reads the domain of an instance that may be changed.
func (i *instance) owned(l *lane, flags lv.DomainXMLFlags) (*lv.Domain, *facts, error) {
	d, err := l.lookUp(i.id)
	if err != nil {
		return nil, nil, err
	}
	description, err := d.GetXMLDesc(flags)
	if err != nil {
		return nil, nil, err
	}
	f, err := readFacts(description)
	if err == nil {
		err = i.meet(f)
	}
	if err == nil {
		err = f.owned()
	}
	return d, f, err
}
