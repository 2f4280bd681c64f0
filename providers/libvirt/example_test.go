//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt_test

import (
	"context"
	"fmt"
	"os"

	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/libvirt"
)

// The hypervisor of this example is libvirt's own for tests, which runs nothing.
func ExampleNew() {
	ctx := context.Background()
	state, err := os.MkdirTemp("", "example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(state)
	p, err := libvirt.New(ctx, libvirt.Options{URI: "test:///default", StateDir: state})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	inst, err := p.Instances().Create(ctx, compute.Spec{
		Name: "web",
		Boot: &compute.Boot{Kernel: "/boot/vmlinuz", CommandLine: "console=ttyS0"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer inst.Delete(ctx, compute.DeleteOptions{Force: true})
	if err := inst.Start(ctx, compute.StartOptions{}); err != nil {
		fmt.Println(err)
		return
	}
	info, err := inst.Info(ctx)
	fmt.Println(info.Kind, info.State, info.Spec.Resources.CPUs, err)
	// Output: vm running 1 <nil>
}

// What the portable spec does not have can be set in the domain. Other providers
// leave the value alone.
func ExampleDomainEdit() {
	spec := compute.Spec{
		Name: "web",
		Boot: &compute.Boot{Kernel: "/boot/vmlinuz"},
		Native: compute.Natives{libvirt.DomainEdit{
			Version: "clock-1",
			Edit: func(d *libvirtxml.Domain) error {
				d.Clock = &libvirtxml.DomainClock{Offset: "localtime"}
				return nil
			},
		}},
	}
	// The version alone is stored: it changes with what the function does.
	fmt.Println(spec.Validate().Err(), spec.Native[0].NativeVersion())
	// Output: <nil> clock-1
}
