package univirt_test

import (
	"context"
	"fmt"
	"log"
	"net/url"
	"os"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/resource"
)

func Example() {
	ctx := context.Background()
	p, err := univirt.Open(ctx, "fake:")
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	exit, err := compute.Run(ctx, p.Instances(), compute.Spec{
		Name:    "hello",
		Image:   "docker.io/library/busybox:latest",
		Process: compute.Process{Command: []string{"echo", "hello, world"}},
	}, compute.RunOptions{Stdout: os.Stdout, Stderr: os.Stderr})
	fmt.Println(exit.Code, err)
	// Output:
	// hello, world
	// 0 <nil>
}

func ExampleOpen() {
	_, err := univirt.Open(context.Background(), "vmware:")
	fmt.Println(errdefs.IsInvalidArgument(err))
	_, err = univirt.Open(context.Background(), "fake:?colour=red")
	fmt.Println(err)
	// Output:
	// true
	// open: url.query[colour]: is not known; known are namespace, owner, seed
}

func ExampleRegistry() {
	var r univirt.Registry
	r.Register("memory", func(context.Context, *url.URL) (univirt.Provider, error) {
		return fake.New(fake.Options{}), nil
	})
	p, err := r.Open(context.Background(), "memory:")
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	fmt.Println(r.Schemes())
	// Output: [memory]
}

func ExampleProvider_watch() {
	ctx := context.Background()
	p := fake.New(fake.Options{})
	defer p.Close()
	if _, err := p.Instances().Create(ctx, compute.Spec{Name: "web", Image: "nginx"}); err != nil {
		log.Fatal(err)
	}
	for event, err := range p.Watch(ctx, resource.WatchOptions{Kinds: []resource.Kind{resource.KindInstance}}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(event.Type, event.Ref.Name, event.State)
		if event.Type == resource.EventSynced {
			break
		}
	}
	// Output:
	// added web stopped
	// synced
}

func ExampleProvider_describe() {
	ctx := context.Background()
	p := fake.New(fake.Options{})
	defer p.Close()
	about, err := p.Describe(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(about.Kinds[about.DefaultKind].Features.Has(compute.FeatureExec))
	// Output: true
}

func ExampleSweep() {
	ctx := context.Background()
	backend := fake.NewBackend(fake.Options{})
	defer backend.Close()
	dying := fake.New(fake.Options{Backend: backend})
	if _, err := dying.Instances().Create(ctx, compute.Spec{Name: "job", Image: "busybox", Lifetime: resource.Ephemeral}); err != nil {
		log.Fatal(err)
	}
	dying.Crash() // as kill -9 would

	p := fake.New(fake.Options{Backend: backend})
	defer p.Close()
	report, err := univirt.Sweep(ctx, p, univirt.SweepOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for _, ref := range report.Removed {
		fmt.Println(ref.Kind, ref.Name)
	}
	_, err = p.Instances().Get(ctx, "job")
	fmt.Println(errdefs.IsNotFound(err))
	// Output:
	// instance job
	// true
}

func ExampleAdopt() {
	ctx := context.Background()
	p := fake.New(fake.Options{Owner: "shop"})
	defer p.Close()
	// Another tool of the same host has made an instance.
	if _, err := p.Backend().PlantForeign("", compute.Spec{Name: "legacy", Image: "nginx"}); err != nil {
		log.Fatal(err)
	}
	for info, err := range p.Instances().List(ctx, compute.Filter{Unmanaged: true}) {
		if err != nil {
			log.Fatal(err)
		}
		if info.Managed {
			continue
		}
		ref, err := univirt.Adopt(ctx, p, info.Ref, univirt.AdoptOptions{Name: "web"})
		fmt.Println(info.Ref.Name, "is now", ref.Name, err)
	}
	inst, err := p.Instances().Get(ctx, "web")
	if err != nil {
		log.Fatal(err)
	}
	info, err := inst.Info(ctx)
	fmt.Println(info.Managed, info.Owner.Name, err)
	// Output:
	// legacy is now web <nil>
	// true shop <nil>
}

// An opener begins with the parameters that it knows.
func ExampleParameters() {
	for _, text := range []string{"memory:?size=10", "memory:?sise=10"} {
		u, err := url.Parse(text)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(univirt.Parameters(u, "size"))
	}
	// Output:
	// map[size:10] <nil>
	// map[] url.query[sise]: is not known; known are size
}

// A provider's package registers its scheme when it is imported.
func ExampleRegister() {
	open := func(_ context.Context, u *url.URL) (univirt.Provider, error) {
		if _, err := univirt.Parameters(u); err != nil {
			return nil, err
		}
		return fake.New(fake.Options{}), nil
	}
	univirt.Register("example", open) // in the package's init

	p, err := univirt.Open(context.Background(), "example:")
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	fmt.Println(slices.Contains(univirt.Schemes(), "example"))
	// Output: true
}
