package univirt

import (
	"context"

	"github.com/univirt/univirt/resource"
)

// Adopter is a provider that can take over what this library did not make.
type Adopter interface {
	Provider
	// Adopt makes a foreign resource managed: it is given an identity, an owner
	// and a name, and is changed in nothing else. One that is managed already
	// becomes this provider value's to own.
	Adopt(ctx context.Context, foreign resource.Ref, opts AdoptOptions) (resource.Ref, error)
}

// AdoptOptions are the options of Adopt.
type AdoptOptions struct {
	// Name is the resource's name from now on; empty keeps the backend's, where it
	// is a valid one.
	Name   string
	Labels resource.Labels
}

// Adopt makes a foreign resource managed; errors.ErrUnsupported where the
// provider cannot.
func Adopt(ctx context.Context, p Provider, foreign resource.Ref, opts AdoptOptions) (resource.Ref, error) {
	a, ok := resource.As[Adopter](p)
	if !ok {
		return resource.Ref{}, resource.Fail("adopt", foreign, resource.Unsupported("adopt", ""))
	}
	return a.Adopt(ctx, foreign, opts)
}
