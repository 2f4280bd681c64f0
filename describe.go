package univirt

import (
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// Description is what a provider says of itself. Its maps and lists must not be
// changed.
type Description struct {
	// Provider is the scheme, and Namespace what the value sees.
	Provider  string
	Namespace string
	// Owner is what new resources are marked with.
	Owner   resource.Owner
	Backend Backend
	// Problems says what is wrong with the provider's health, in sentences; empty
	// where all is well.
	Problems []string
	// Capacity is what the backend's host has. Values that are not known are -1.
	Capacity Capacity
	// DefaultKind is what the empty kind in a spec means.
	DefaultKind compute.Kind
	// Kinds says per kind of instance what is offered. A kind that is not listed
	// is not offered.
	Kinds map[compute.Kind]KindDescription
	// Images, Volumes and Networks say what is offered for those.
	Images   resource.Features
	Volumes  ResourceDescription
	Networks ResourceDescription
	// Changes says per kind of resource how another process' changes become
	// known to this value.
	Changes map[resource.Kind]ChangeNotice
	// Leftovers are resources in the making whose maker is dead. Sweep removes
	// them.
	Leftovers []resource.Ref
}

// Backend is what a provider stands on.
type Backend struct {
	// Name and Version are the backend's own, such as "containerd" and "2.4.2".
	Name, Version string
	// Tested is the window of versions that the provider was tested with, and
	// InWindow whether Version lies in it.
	Tested   string
	InWindow bool
	// Address is where the backend was reached.
	Address string
	// Details are further facts, such as which acceleration was chosen and why.
	Details map[string]string
}

// Capacity is what a host has, and has left.
type Capacity struct {
	// CPUs is the number of cores, Memory and Disk are bytes in all, and the
	// Available ones bytes that are left.
	CPUs            float64
	Memory          int64
	MemoryAvailable int64
	Disk            int64
	DiskAvailable   int64
	// Instances is the number that may exist; -1 for no bound.
	Instances int64
}

// KindDescription is what a provider offers for one kind of instance.
type KindDescription struct {
	// Features says which capabilities work.
	Features resource.Features
	// Fields says which fields of compute.Spec have an effect.
	Fields resource.FieldTable
	// Changeable says which fields of compute.Change have one.
	Changeable resource.FieldTable
	// DefaultNetwork says what an instance without Networks gets: "none",
	// "host", or a network's name.
	DefaultNetwork string
}

// ResourceDescription is what a provider offers for another kind of resource.
type ResourceDescription struct {
	// Features says which capabilities work.
	Features resource.Features
	// Fields says which fields of the kind's spec have an effect.
	Fields resource.FieldTable
}

// ChangeNotice says how a change that another process made becomes known.
type ChangeNotice string

// The ways in which changes become known.
const (
	// ByEvent changes are told as they happen.
	ByEvent ChangeNotice = "event"
	// ByRefresh changes are seen when something is read again.
	ByRefresh ChangeNotice = "refresh"
	// NeverTold changes are not noticed.
	NeverTold ChangeNotice = "never"
)
