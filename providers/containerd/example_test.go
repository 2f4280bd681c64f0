package containerd_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/containerd"
	"github.com/univirt/univirt/resource"
)

// A program brings its own containerd, which no other program sees. It needs
// root, and the programs containerd and runc.
func ExampleNew() {
	ctx := context.Background()
	p, err := containerd.New(ctx, containerd.Options{
		Managed: &containerd.Managed{Dir: "/var/lib/shop/containerd"},
		Owner:   "shop",
	})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	exit, err := compute.Run(ctx, p.Instances(), compute.Spec{
		Name:    "hello",
		Image:   "docker.io/library/busybox:latest",
		Process: compute.Process{Command: []string{"echo", "hello"}},
	}, compute.RunOptions{Stdout: os.Stdout, Stderr: os.Stderr})
	fmt.Println(exit.Code, err)
}

// The same by URL. The import registers the scheme.
func ExampleNew_url() {
	ctx := context.Background()
	p, err := univirt.Open(ctx, "containerd:?managed=/var/lib/shop/containerd&owner=shop")
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
}

// The system's containerd, in a namespace of one's own.
func ExampleNew_system() {
	ctx := context.Background()
	p, err := containerd.New(ctx, containerd.Options{Namespace: "shop"})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
}

// An uninstaller removes what the program has left: the daemon, its instances and
// its images.
func ExampleRemove() {
	if err := containerd.Remove(context.Background(), "/var/lib/shop/containerd"); err != nil {
		log.Fatal(err)
	}
}

// What this module does not have is done with containerd's own client.
func ExampleClient() {
	ctx := context.Background()
	p, err := univirt.Open(ctx, "containerd:")
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	client, namespace, ok := containerd.Client(p)
	if !ok {
		log.Fatal("this is another provider")
	}
	version, err := client.Version(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("containerd", version.Version, "namespace", namespace)
}

// The ID is what ctr shows.
func ExampleContainerID() {
	ctx := context.Background()
	p, err := univirt.Open(ctx, "containerd:")
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	inst, err := p.Instances().Get(ctx, "web")
	if err != nil {
		log.Fatal(err)
	}
	if namespace, id, ok := containerd.ContainerID(inst); ok {
		fmt.Println("ctr -n", namespace, "tasks ps", id)
	}
}

// A test can hold that a list costs the same for one instance and for a thousand.
func ExampleCalls() {
	ctx := context.Background()
	p, err := univirt.Open(ctx, "containerd:")
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	if _, err := resource.Collect(p.Instances().List(ctx, compute.Filter{})); err != nil {
		log.Fatal(err)
	}
	if calls, ok := containerd.Calls(p); ok {
		fmt.Println(calls) // by method, such as "Tasks/Create"
	}
}

// What the portable spec does not have can be set in the OCI runtime spec. Other
// providers leave the value alone.
func ExampleSpecEdit() {
	spec := compute.Spec{
		Name:  "web",
		Image: "nginx",
		Native: compute.Natives{containerd.SpecEdit{
			Version: "oom-1",
			Edit: func(s *specs.Spec) error {
				score := 500
				s.Process.OOMScoreAdj = &score
				return nil
			},
		}},
	}
	fmt.Println(spec.Validate().Err())
	// The version alone is stored: it changes with what the function does.
	text, err := compute.Encode(spec)
	fmt.Println(string(text), err)
	// Output:
	// <nil>
	// {"apiVersion":"univirt.io/v1alpha1","kind":"instance","spec":{"name":"web","image":"nginx","native":[{"provider":"containerd","version":"oom-1"}]}} <nil>
}

// What the provider does with a field is known before there is a containerd.
func ExampleFields() {
	fields := containerd.Fields()
	for _, field := range []string{"process.command", "process.stdin", "cloudInit"} {
		fmt.Println(field, fields.Rule(field).Level)
	}
	// Output:
	// process.command honored
	// process.stdin refused
	// cloudInit refused
}

func ExampleFeatures() {
	features, images := containerd.Features(), containerd.ImageFeatures()
	fmt.Println(features.Has(compute.FeatureExec), features.Has(compute.FeatureScreenshot))
	fmt.Println(images.Has(compute.FeatureImport), images[compute.FeatureDisk].Reason)
	// Output:
	// true false
	// true a container has no disk to boot from
}

// What Describe will say of containers is known without one, down to whether a
// running one can be changed.
func ExampleContainers() {
	about := containerd.Containers()
	more := compute.Change{Resources: &compute.Resources{Memory: 128 * resource.MiB}}
	fmt.Println(about.Changeable.Refuse(more))
	faster := compute.Change{Resources: &compute.Resources{DiskRead: 100 * resource.MiB}}
	fmt.Println(containerd.Changeable().Refuse(faster))
	// Output:
	// <nil>
	// resources.diskRead: is not supported: limits of block devices and networks need to know the device
}
