package network

import (
	"context"
	"iter"
	"net/netip"
	"slices"
	"time"

	"github.com/univirt/univirt/resource"
)

// Networks are the networks of one provider and namespace.
//
// All methods of Networks, Network and Endpoint may be called concurrently, see the
// package's documentation. A context that is done before a call has no effect at the
// backend. Errors are *resource.Error or a context's error.
type Networks interface {
	// Create makes a network. Faults of the spec are InvalidArgument, all at once,
	// and come before a field that the provider does not know, which is
	// errors.ErrUnsupported and named. A name that exists is AlreadyExists, as is a
	// subnet that overlaps another network's. A cancelled Create returns after its
	// undo.
	Create(ctx context.Context, spec Spec) (Network, error)
	// Get returns the network of an ID or a name; NotFound if there is none.
	Get(ctx context.Context, idOrName string) (Network, error)
	// Handle returns the network of an ID without any call to the backend. If
	// there is no such network, the handle's methods say NotFound.
	Handle(id string) Network
	// List yields the networks that match, in no particular order. Each range
	// starts anew; an error is yielded once, last.
	List(ctx context.Context, filter Filter) iter.Seq2[Info, error]
}

// Network is a handle on one network, bound to its ID: after a delete and a
// create of the same name it says NotFound.
type Network interface {
	// ID returns the network's identity. It makes no call.
	ID() string
	// Info reads the network. A network that is gone is NotFound.
	Info(ctx context.Context) (Info, error)
	// Update changes labels and annotations. All faults are found before
	// anything is changed.
	Update(ctx context.Context, change Change) error
	// Delete removes the network. One with endpoints, those of instances or reserved,
	// is FailedPrecondition and stays, forced or not. A network that is gone is
	// NotFound.
	Delete(ctx context.Context, opts DeleteOptions) error
	// Reserve makes an endpoint: MAC, addresses and names that last until it is
	// released. An address that is taken is AlreadyExists; a subnet with none
	// left is ResourceExhausted.
	Reserve(ctx context.Context, spec EndpointSpec) (Endpoint, error)
	// Endpoint returns the endpoint of an ID without any call to the backend.
	Endpoint(id string) Endpoint
	// Endpoints yields the network's endpoints that match.
	Endpoints(ctx context.Context, filter EndpointFilter) iter.Seq2[EndpointInfo, error]
}

// DeleteOptions are the options of a network's Delete. The zero value deletes a
// managed network without endpoints.
type DeleteOptions struct {
	// Force also deletes a network that this library did not make.
	Force bool
	// IfRevision, if not empty, makes the call Aborted where the network has
	// changed since.
	IfRevision string
}

// Change says what to change of a network. Nil and empty fields change nothing.
type Change struct {
	Labels      resource.LabelPatch `json:"labels,omitempty"`
	Annotations resource.LabelPatch `json:"annotations,omitempty"`
	// IfRevision, if not empty, makes the call Aborted where the network has
	// changed since.
	IfRevision string `json:"ifRevision,omitempty"`
}

// Validate reports every fault of the change.
func (c Change) Validate() resource.Faults {
	var faults resource.Faults
	faults.Under("labels", c.Labels.Validate())
	faults.Under("annotations", c.Annotations.ValidateKeys())
	return faults
}

// Info is what is known of a network. Maps, lists and what pointers point to
// are shared and must not be changed.
type Info struct {
	Ref resource.Ref
	// Managed is false for a network that this library did not make.
	Managed bool
	Owner   resource.Owner
	// Spec is the network's spec with the provider's choices filled in; nil
	// where the network is not managed.
	Spec *Spec
	// Subnets are the network's subnets with the provider's choices filled in.
	Subnets []Subnet
	// Bridge is the host interface that the segment is made of, or empty.
	Bridge string
	// MTU is the largest packet in bytes, 0 where not known.
	MTU int
	// Domain is the DNS zone of the instances' names.
	Domain string
	// Endpoints is the number of endpoints.
	Endpoints int

	Labels      resource.Labels
	Annotations resource.Annotations
	Created     time.Time
	// Revision changes with every change of the network.
	Revision string
}

// Filter says which networks List yields: those that meet every field that is
// not zero. The zero value yields all managed ones.
type Filter struct {
	// Names and IDs limit to those listed.
	Names []string
	IDs   []string
	// Selector chooses by labels.
	Selector resource.Selector
	// Unmanaged also yields networks that this library did not make.
	Unmanaged bool
}

// Validate reports every fault of the filter.
func (f Filter) Validate() resource.Faults {
	var faults resource.Faults
	faults.Under("selector", f.Selector.Validate())
	return faults
}

// Matches reports whether the filter lets a network through.
func (f Filter) Matches(info Info) bool {
	return (info.Managed || f.Unmanaged) &&
		(len(f.Names) == 0 || slices.Contains(f.Names, info.Ref.Name)) &&
		(len(f.IDs) == 0 || slices.Contains(f.IDs, info.Ref.ID)) &&
		f.Selector.Matches(info.Labels)
}

// Overlaps reports whether two networks' subnets share an address, and which
// of them do.
func Overlaps(a, b []Subnet) (netip.Prefix, netip.Prefix, bool) {
	for _, x := range a {
		for _, y := range b {
			if x.CIDR.IsValid() && y.CIDR.IsValid() && x.CIDR.Overlaps(y.CIDR) {
				return x.CIDR, y.CIDR, true
			}
		}
	}
	return netip.Prefix{}, netip.Prefix{}, false
}
