package containerd

import (
	"github.com/containerd/containerd/v2/client"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// SpecEdit is the native value of this provider for a compute.Spec: a function
// that changes the OCI runtime spec of an instance before it is created. It is
// not portable, and nothing that it does is checked.
type SpecEdit struct {
	// Version stands for the function in the stored spec. Required; it must change
	// with what the function does.
	Version string
	// Edit changes the spec in place. It may be called several times, and by
	// several goroutines.
	Edit func(*specs.Spec) error
}

var _ compute.Native = SpecEdit{}

// NativeProvider returns Scheme.
func (SpecEdit) NativeProvider() string { return Scheme }

// NativeVersion returns the version.
func (s SpecEdit) NativeVersion() string { return s.Version }

// Client returns the client of a provider's containerd and the namespace of
// containerd that it uses; the client is closed with the provider. It is false
// for another provider. It is not portable.
func Client(p univirt.Provider) (c *client.Client, namespace string, ok bool) {
	own, ok := resource.As[*Provider](p)
	if !ok {
		return nil, "", false
	}
	return own.client, own.space, true
}

// ContainerID returns the namespace and the ID that an instance has in
// containerd. It is false for an instance of another provider. It is not
// portable.
func ContainerID(inst compute.Instance) (namespace, id string, ok bool) {
	own, ok := resource.As[*instance](inst)
	if !ok {
		return "", "", false
	}
	return own.p.space, own.id, true
}
