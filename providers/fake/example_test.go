package fake_test

import (
	"context"
	"fmt"
	"log"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/resource"
)

// Deploy is what a program under test might have: it needs a provider, and does
// not care which.
func Deploy(ctx context.Context, p univirt.Provider) error {
	inst, err := compute.Ensure(ctx, p.Instances(), compute.Spec{Name: "web", Image: "nginx:1.27"})
	if err != nil {
		return err
	}
	return inst.Start(ctx, compute.StartOptions{})
}

// The set-up of a test is one line, and nothing has to be cleaned up.
func Example() {
	testDeploy := func(t *testing.T) {
		p := fake.Test(t, fake.Options{})
		if err := Deploy(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	_ = testDeploy

	p := fake.New(fake.Options{}) // outside of tests
	defer p.Close()
	fmt.Println(Deploy(context.Background(), p))
	fmt.Print(p.Dump())
	// Output:
	// <nil>
	// image default/docker.io/library/nginx:1.27
	//   id: sha256:8e122644e87303ffe25885704bdfe879addbea3ffa7217ecabcc36bbbc0eb301
	//   names: docker.io/library/nginx:1.27
	//   platform: linux/amd64
	//   form: rootfs
	// instance default/web
	//   id: a1790d67-85b1-4a55-8fc6-2c674cdc25b3
	//   kind: container
	//   state: running
	//   image: docker.io/library/nginx:1.27
	//   run: a1790d67-1
}

// A fault reads like the sentence that says what goes wrong.
func ExampleProvider_Fail() {
	p := fake.New(fake.Options{})
	defer p.Close()
	fault := p.Fail(fake.On(fake.OpStart).Of("web").Nth(1).With(errdefs.ErrUnavailable))
	ctx := context.Background()
	fmt.Println(Deploy(ctx, p))
	fmt.Println(Deploy(ctx, p))
	fmt.Println("struck", fault.Struck(), "time")
	// Output:
	// start instance "web": injected fault: unavailable
	// <nil>
	// struck 1 time
}

// Some other faults.
func ExampleOn() {
	for _, fault := range []fake.Fault{
		fake.On(fake.OpPull).Of("nginx:1.27").With(errdefs.ErrUnauthenticated),
		fake.On(fake.OpCreate).Labelled("tier=web").Chance(0.1).DiskFull(),
		fake.On(fake.OpStop).After().With(errdefs.ErrUnavailable),
		fake.On(fake.OpInfo).From(10).Delayed(time.Second),
		fake.On(fake.OpCreate).Of("web").Crashing(),
		fake.On().Hanging(),
		fake.OnEvent(resource.ReasonExit).Of("web").Dropped(),
		fake.NeverReady("db"),
	} {
		fmt.Println(fault)
	}
	// Output:
	// call image/pull of nginx:1.27: unauthorized
	// call create labelled tier=web with chance 0.1: no space left on device
	// call stop after its effect: unavailable
	// call info from number 10: delayed by 1s
	// call create of web: crashing
	// call: hanging
	// event exit of web: dropped
	// call boot of db: hanging
}

// What runs inside an instance is a Go function.
func ExampleProgram() {
	greeter := func(ctx context.Context, p *fake.Process) int {
		signals := p.Signals() // from here on they do not kill
		fmt.Fprintf(p.Stdout, "%s greets %s\n", p.Hostname(), p.Getenv("WHOM"))
		select {
		case signal := <-signals:
			fmt.Fprintln(p.Stdout, "asked to end by", signal)
			return 0
		case <-ctx.Done():
			return 1
		}
	}
	p := fake.New(fake.Options{Programs: map[string]fake.Program{"greeter": greeter}})
	defer p.Close()
	ctx := context.Background()
	inst, _ := p.Instances().Create(ctx, compute.Spec{
		Name: "web", Image: "example.test/greeter:v1", StopSignal: "SIGINT",
		Process: compute.Process{Env: map[string]string{"WHOM": "the world"}},
	})
	_ = inst.Start(ctx, compute.StartOptions{})
	for line := range compute.Logs(ctx, inst, compute.LogOptions{Follow: true}) {
		fmt.Printf("%s\n", line.Text)
		go inst.Stop(ctx, compute.StopOptions{})
	}
	exit, _ := inst.Wait(ctx, compute.WaitOptions{})
	fmt.Println("code", exit.Code)
	// Output:
	// web greets the world
	// asked to end by SIGINT
	// code 0
}

// Two values on one backend are as two processes on one host.
func ExampleProvider_Crash() {
	backend := fake.NewBackend(fake.Options{})
	defer backend.Close()
	ctx := context.Background()

	one := fake.New(fake.Options{Backend: backend, Owner: "one"})
	one.Fail(fake.On(fake.OpCreate).Of("half-made").Crashing())
	_, err := one.Instances().Create(ctx, compute.Spec{Name: "half-made", Image: "app"})
	fmt.Println(err)

	two := fake.New(fake.Options{Backend: backend, Owner: "two"})
	defer two.Close()
	report, _ := univirt.Sweep(ctx, two, univirt.SweepOptions{})
	for _, ref := range report.Removed {
		fmt.Println("removed", ref.Name)
	}
	// Output:
	// create instance "half-made": the provider is closed
	// removed half-made
}

// Images are what a test says they are.
func ExampleImage() {
	p := fake.New(fake.Options{Images: []fake.Image{{
		Name:   "example.test/db:v1",
		Config: compute.ImageConfig{Cmd: []string{"/usr/bin/db"}, User: "db"},
		Users:  []fake.User{{Name: "db", UID: 70, GID: 70}},
		Programs: map[string]fake.Program{"db": func(_ context.Context, p *fake.Process) int {
			fmt.Fprintln(p.Stdout, p.Args[0], "runs as", p.User.UID)
			return 0
		}},
	}}})
	defer p.Close()
	ctx := context.Background()
	_, err := compute.Run(ctx, p.Instances(), compute.Spec{Name: "db", Image: "example.test/db:v1"}, compute.RunOptions{Stdout: os.Stdout})
	fmt.Println(err)
	_, err = p.Images().Pull(ctx, "example.test/db:v2", compute.PullOptions{})
	fmt.Println(err)
	// Output:
	// /usr/bin/db runs as 70
	// <nil>
	// pull image "example.test/db:v2" in namespace "default": image: the registry has no "example.test/db:v2"
}

// A program that opens providers by URL adds what no URL can hold.
func ExampleParseURL() {
	u, err := url.Parse("fake:?namespace=demo&seed=7")
	if err != nil {
		log.Fatal(err)
	}
	opts, err := fake.ParseURL(u)
	if err != nil {
		log.Fatal(err)
	}
	opts.Programs = map[string]fake.Program{"greet": func(_ context.Context, p *fake.Process) int {
		fmt.Fprintln(p.Stdout, "hello from", p.Hostname())
		return 0
	}}
	p := fake.New(opts)
	defer p.Close()
	spec := compute.Spec{Name: "web", Image: "nginx", Process: compute.Process{Command: []string{"greet"}}}
	if _, err := compute.Run(context.Background(), p.Instances(), spec, compute.RunOptions{Stdout: os.Stdout}); err != nil {
		log.Fatal(err)
	}
	// Output: hello from web
}

// A plan shows what the fake makes of a spec.
func ExampleProvider_Instances() {
	p := fake.New(fake.Options{})
	defer p.Close()
	plan, err := compute.PlanOf(context.Background(), p.Instances(), compute.Spec{
		Name: "web", Image: "nginx", Kind: compute.VM, Init: true,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, gap := range plan.Gaps {
		fmt.Println(gap.Field, "is", gap.Level, "because", gap.Reason)
	}
	// Output:
	// init is refused because a virtual machine has a kernel of its own
}

// A program that takes more memory than its instance may have is killed, as by a
// kernel.
func ExampleProcess_Alloc() {
	cache := func(_ context.Context, p *fake.Process) int {
		for {
			if err := p.Alloc(16 * resource.MiB); err != nil {
				return 1 // nobody asks: it is killed already
			}
		}
	}
	p := fake.New(fake.Options{Programs: map[string]fake.Program{"cache": cache}})
	defer p.Close()
	exit, err := compute.Run(context.Background(), p.Instances(), compute.Spec{
		Name: "cache", Image: "cache", Resources: compute.Resources{Memory: 64 * resource.MiB},
	}, compute.RunOptions{})
	fmt.Println(exit.OOM, exit.Code, err)
	fmt.Println(exit)
	// Output:
	// true 137 <nil>
	// SIGKILL, out of memory
}
