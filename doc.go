// Package univirt is one API over virtual machines and containers, for programs
// that need a machine and do not want to care who makes it.
//
// A program says what it wants, as a [compute.Spec]; a provider makes it real:
// as a container of containerd, as a virtual machine of libvirt, or in memory
// for tests. The calls stay the same. What runs is said in two ways: a container has a
// process, an image of files and what else a kernel can be told of it; a machine boots
// an image of a disk, which cloud-init and [compute.Exec] tell the rest.
//
//	p, err := univirt.Open(ctx, "containerd:")
//	...
//	inst, err := p.Instances().Create(ctx, compute.Spec{
//		Name:      "web",
//		Image:     "docker.io/library/nginx:1.27",
//		Resources: compute.Resources{CPUs: 0.5, Memory: 256 * resource.MiB},
//	})
//	err = inst.Start(ctx, compute.StartOptions{})
//
// # The packages
//
// [compute] has instances and images, [storage] volumes, [network] networks;
// [resource] has what they share: names, labels, errors, events. The packages
// below providers/ implement them; a program links only those that it imports.
// providers/fake is an in-memory provider for tests, and providers/providertest
// the suite that every provider passes. A provider may live elsewhere: the contract is
// in the interfaces' documentation and in that suite.
//
// # Errors
//
// Test the kind of an error with [errors.Is] and the sentinels of
// [github.com/containerd/errdefs], such as errdefs.ErrNotFound; the details are in
// a [*resource.Error].
//
// # Capabilities
//
// What only some providers offer is an extension interface with a helper
// function, such as [compute.Pause]; where a provider has not got it, the error
// is errors.ErrUnsupported. [Provider.Describe] declares the same as data. A
// field of a spec that a provider does not know is refused by name, never
// ignored.
//
// # Status
//
// The interfaces are Experimental until two real providers pass the
// conformance suite.
package univirt
