package univirt

import (
	"context"

	"github.com/univirt/univirt/resource"
)

// Adopter is a provider that can take over what this library did not make.
type Adopter interface {
	Provider
	// Adopt makes a foreign resource managed: it is given an identity, an owner
	// and a name, and is changed in nothing else. From then on it is listed,
	// watched, changed and swept as what this library made; watches are told of it
	// as Added. One that is managed already becomes this provider value's to own
	// and keeps its name: another one in the options is FailedPrecondition.
	//
	// The reference is one of those that a list of unmanaged resources yields: its
	// ID counts or, where it has none, its name. What is not there, or in another
	// namespace, is NotFound; a name that is taken is AlreadyExists, and a
	// malformed name or label InvalidArgument. A call that fails changes nothing.
	// Called several times at once it is the last caller's.
	Adopt(ctx context.Context, foreign resource.Ref, opts AdoptOptions) (resource.Ref, error)
}

// AdoptOptions are the options of Adopt.
type AdoptOptions struct {
	// Name is the resource's name from now on; empty keeps the backend's, where it
	// is a valid one.
	Name string
	// Labels are the resource's labels from now on; nil keeps those that it has.
	Labels resource.Labels
}

// Validate reports every fault of the options.
func (o AdoptOptions) Validate() resource.Faults {
	var f resource.Faults
	if o.Name != "" {
		f.AddReason("name", resource.CheckName(o.Name))
	}
	f.Under("labels", o.Labels.Validate())
	return f
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
