package libvirt_test

import (
	"fmt"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/libvirt"
)

// What the provider honours is data, which needs no hypervisor.
func ExampleFields() {
	fmt.Println(libvirt.Fields().Refuse(compute.Spec{Name: "web", Hostname: "web"}))
	fmt.Println(libvirt.Machines().Features.Has(compute.FeatureSuspend), libvirt.Changeable().Rule("resources.memory").Level)
	// Output:
	// hostname: is not supported: a machine runs what its image starts: say it by cloudInit.userData, or by compute.Exec when it runs
	// true honored
}
