package compute

import (
	"net/netip"
	"slices"
	"time"

	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// Info is what is known of an instance. Maps, lists and what pointers point to
// are shared and must not be changed; [Spec.Clone] gives a copy of a spec.
type Info struct {
	Ref resource.Ref
	// Kind is VM or Container.
	Kind Kind
	// Managed is false for an instance that this library did not make.
	Managed bool
	Owner   resource.Owner
	// State is what the instance is doing; Reason says more where it is Failed
	// or Unknown.
	State  State
	Reason string
	// Spec is the spec with the provider's choices filled in; nil where the
	// instance is not managed.
	Spec *Spec
	// Image is the image that the instance was made of; its ID is the digest
	// that the name had then.
	Image resource.Ref
	// Run is the token of the run under way, or of the last; empty where it
	// never ran.
	Run string
	// Runs counts the runs so far, where the provider does.
	Runs int
	// Exit is the end of the last run; nil during the first and before it.
	Exit *Exit
	// PID is the host's process ID of the main process or of the hypervisor
	// while running on the local host, else 0.
	PID int
	// Created, Started and Finished are times by the backend's clock; zero where
	// not known.
	Created, Started, Finished time.Time
	// Endpoints are the attachments to networks, in the order of the spec.
	Endpoints []network.EndpointInfo
	// Ports are the published ports with the host ports that were chosen.
	Ports []network.Port
	// Level is the readiness that has been reached, see WaitFor.
	Level Level
	// Health is the outcome of the health check; empty where there is none.
	Health Health
	// Supervised says whether a supervisor runs that acts on the restart policy
	// and the health check.
	Supervised bool
	// Pending lists the paths of changes that the run under way has not got and
	// the next one will have; empty where no run is under way.
	Pending []string

	Labels      resource.Labels
	Annotations resource.Annotations
	// Revision changes with every change of the instance's spec or labels, and
	// with an update that has what waited for the next start take effect at once;
	// not with the state.
	Revision string
}

// Address returns the instance's first address, or the zero value.
func (i Info) Address() netip.Addr {
	for _, e := range i.Endpoints {
		for _, a := range e.Addresses {
			return a.Addr()
		}
	}
	return netip.Addr{}
}

// Filter says which instances are meant: those that meet every field that is
// not zero. The zero value means all managed ones.
type Filter struct {
	// Names and IDs limit to those listed.
	Names []string
	IDs   []string
	// Kinds, States and Images limit to those listed; images by name, as
	// ParseImageReference completes it, or by ID.
	Kinds  []Kind
	States []State
	Images []string
	// Selector chooses by labels.
	Selector resource.Selector
	// Unmanaged also yields instances that this library did not make.
	Unmanaged bool
}

// Validate reports every fault of the filter.
func (f Filter) Validate() resource.Faults {
	var faults resource.Faults
	for i, kind := range f.Kinds {
		if kind != VM && kind != Container {
			faults.Add(at("kinds", i), "must be %q or %q", VM, Container)
		}
	}
	for i, state := range f.States {
		if !slices.Contains(States(), state) {
			faults.Add(at("states", i), "is not a state: %s", resource.Quote(string(state)))
		}
	}
	faults.Under("selector", f.Selector.Validate())
	return faults
}

// Matches reports whether the filter lets an instance through.
func (f Filter) Matches(info Info) bool {
	return (info.Managed || f.Unmanaged) &&
		(len(f.Names) == 0 || slices.Contains(f.Names, info.Ref.Name)) &&
		(len(f.IDs) == 0 || slices.Contains(f.IDs, info.Ref.ID)) &&
		(len(f.Kinds) == 0 || slices.Contains(f.Kinds, info.Kind)) &&
		(len(f.States) == 0 || slices.Contains(f.States, info.State)) &&
		(len(f.Images) == 0 || slices.ContainsFunc(f.Images, func(name string) bool { return sameImage(info, name) })) &&
		f.Selector.Matches(info.Labels)
}
