package network

import (
	"context"
	"errors"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/resource"
)

// FindEndpoint reads the endpoint of an ID among the managed networks of one or more
// providers. One that none of them has is NotFound. Where one of the providers does not
// answer, and no other has the endpoint, the error is that provider's: it may have it.
// A provider without networks has none.
func FindEndpoint(ctx context.Context, id string, among ...Networks) (EndpointInfo, error) {
	var unsure error
	for _, networks := range among {
		info, err := findEndpoint(ctx, id, networks)
		switch {
		case err == nil:
			return info, nil
		case ctx.Err() != nil:
			return EndpointInfo{}, err
		case !errdefs.IsNotFound(err) && !errors.Is(err, errors.ErrUnsupported) && unsure == nil:
			unsure = err
		}
	}
	if unsure != nil {
		return EndpointInfo{}, unsure
	}
	ref := resource.Ref{Kind: resource.KindEndpoint, ID: id}
	return EndpointInfo{}, resource.Fail("find endpoint", ref, resource.Errorf(errdefs.ErrNotFound, "no such endpoint"))
}

func findEndpoint(ctx context.Context, id string, networks Networks) (EndpointInfo, error) {
	for n, err := range networks.List(ctx, Filter{}) {
		if err != nil {
			return EndpointInfo{}, err
		}
		info, err := networks.Handle(n.Ref.ID).Endpoint(id).Info(ctx)
		if !errdefs.IsNotFound(err) {
			return info, err
		}
	}
	return EndpointInfo{}, errdefs.ErrNotFound
}
