package fake

import (
	"context"
	"errors"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// strangers are endpoints as the networks of other values tell of them, by their IDs.
type strangers map[string]network.EndpointInfo

// askOthers has the networks of other values tell of the endpoints that are none of the
// namespace's. Those that nobody has are left out. The backend is not locked: the others
// may stand on it.
func (p *Provider) askOthers(ctx context.Context, attachments []compute.NetworkAttachment, field func(n int, name string) string) (strangers, error) {
	var found strangers
	for n, a := range attachments {
		if a.Endpoint == "" || len(p.others) == 0 || p.hasEndpoint(a.Endpoint) {
			continue
		}
		info, err := network.FindEndpoint(ctx, a.Endpoint, p.others...)
		switch {
		case errdefs.IsNotFound(err):
			continue
		case errors.Is(err, resource.ErrClosed):
			// That another value is closed says nothing of this one.
			return nil, fieldError(field(n, "endpoint"), errdefs.ErrUnavailable, "its network cannot be asked: %v", err)
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			return nil, fieldError(field(n, "endpoint"), resource.KindOf(err), "its network cannot be asked: %w", err)
		}
		if found == nil {
			found = strangers{}
		}
		found[a.Endpoint] = info
	}
	return found, nil
}

func (p *Provider) hasEndpoint(id string) bool {
	p.backend.mu.Lock()
	defer p.backend.mu.Unlock()
	return p.space.endpoints[id] != nil
}

// endpointOf finds an endpoint that another value's network has told of, which must be
// on the same backend. That is locked.
func (b *Backend) endpointOf(info network.EndpointInfo) (*endpoint, error) {
	if s := b.spaces[info.Ref.Namespace]; s != nil && info.Ref.Provider == Scheme {
		if e := s.endpoints[info.Ref.ID]; e != nil && e.mac.Equal(info.MAC) {
			return e, nil
		}
	}
	reason := "its network is of another backend, which is another host"
	if info.Ref.Provider != Scheme {
		reason = "its network is the provider " + info.Ref.Provider + "'s, and the fake has no host interfaces"
	}
	return nil, fieldError("endpoint", errdefs.ErrFailedPrecondition, "%s", reason)
}

// reserved finds an endpoint of the namespace, or one that others have told of. The
// backend is locked.
func (s *space) reserved(id string, others strangers) (*endpoint, error) {
	if e := s.endpoints[id]; e != nil {
		return e, nil
	}
	if info, ok := others[id]; ok {
		return s.backend.endpointOf(info)
	}
	return nil, fieldError("endpoint", errdefs.ErrNotFound, "there is no endpoint %s", id)
}
