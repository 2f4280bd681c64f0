package libvirt

import (
	"fmt"

	"github.com/containerd/errdefs"
	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// DomainEdit is the native value of this provider for a compute.Spec: a function
// that changes the domain of an instance before it is defined. It is not portable,
// and what it does is checked by libvirt only; but the name, the UUID and the
// metadata stay as they are. A later update changes the domain that it left.
type DomainEdit struct {
	// Version stands for the function in the stored spec. Required; it must change
	// with what the function does.
	Version string
	// Edit changes the domain in place. It may be called several times, and by
	// several goroutines.
	Edit func(*libvirtxml.Domain) error
}

var _ compute.Native = DomainEdit{}

// NativeProvider returns Scheme.
func (DomainEdit) NativeProvider() string { return Scheme }

// NativeVersion returns the version.
func (e DomainEdit) NativeVersion() string { return e.Version }

// edit lets the program's own hand have the last word.
func edit(d *libvirtxml.Domain, natives compute.Natives) error {
	switch native := natives.For(Scheme).(type) {
	case nil:
		return nil
	case DomainEdit:
		if native.Edit == nil {
			return nil
		}
		name, uuid, metadata := d.Name, d.UUID, d.Metadata.XML
		if err := native.Edit(d); err != nil {
			return err
		}
		if d.Name != name || d.UUID != uuid || d.Metadata == nil || d.Metadata.XML != metadata {
			return resource.Faults{{Field: "native", Reason: "must leave name, UUID and metadata of the domain as they are"}}.Err()
		}
		return nil
	default:
		return &resource.Error{Kind: errdefs.ErrInvalidArgument, Field: "native", Err: fmt.Errorf("a native value for libvirt must be a libvirt.DomainEdit, is %T", native)}
	}
}
