//go:build !cgo || (!libvirt && !libvirt_dlopen)

package libvirt

import (
	"context"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/resource"
)

// endNetworks has nothing to end: this build starts no daemon.
func endNetworks(context.Context, string) error { return nil }

// Provider is one namespace of one hypervisor. See univirt.Provider for its
// contract.
type Provider struct{ univirt.Provider }

// New connects to a hypervisor and returns a provider of one of its namespaces.
// The context bounds the opening, not the provider.
//
// A hypervisor that is not there or does not answer is Unavailable, one that may
// not be used is PermissionDenied or Unauthenticated, and a URI that libvirt does
// not know is InvalidArgument; all with the field "uri". In a build without cgo or
// without the build tag libvirt or libvirt_dlopen, or where the client library is
// looked for at run time and missing, the error is errors.ErrUnsupported, behind what
// is wrong with the options.
func New(ctx context.Context, opts Options) (*Provider, error) {
	ref := resource.Ref{Provider: Scheme}
	if _, faults := opts.normalise(); len(faults) > 0 {
		return nil, resource.Fail("open", ref, faults.Err())
	}
	return nil, resource.Fail("open", ref, resource.Unsupported(Scheme,
		"the program was built without cgo or without the build tag libvirt (libvirt's library linked in) or libvirt_dlopen (looked for when it runs)"))
}
