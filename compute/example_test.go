package compute_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/resource"
)

// start makes a running instance of an image on a fake.
func start(spec compute.Spec) (*fake.Provider, compute.Instance) {
	ctx := context.Background()
	p := fake.New(fake.Options{})
	inst, err := p.Instances().Create(ctx, spec)
	if err != nil {
		log.Fatal(err)
	}
	if err := inst.Start(ctx, compute.StartOptions{}); err != nil {
		log.Fatal(err)
	}
	return p, inst
}

func ExampleSpec_Validate() {
	spec := compute.Spec{
		Name:      "Web_1",
		Image:     "nginx",
		Resources: compute.Resources{CPUs: -1, Memory: 512},
	}
	for _, fault := range spec.Validate() {
		fmt.Println(fault)
	}
	// Output:
	// name: must consist of a-z, 0-9 and '-', has "W"
	// resources.cpus: must be from 0 to 65536, is -1
	// resources.memory: must be 0 or at least 1MiB, is 512B
}

func ExampleInstances() {
	ctx := context.Background()
	p := fake.New(fake.Options{})
	defer p.Close()
	for _, name := range []string{"web-1", "web-2", "db"} {
		tier := name[:2]
		if _, err := p.Instances().Create(ctx, compute.Spec{Name: name, Image: "nginx", Labels: resource.Labels{"tier": tier}}); err != nil {
			log.Fatal(err)
		}
	}
	web := compute.Filter{Selector: resource.Select(resource.Equals("tier", "we"))}
	for info, err := range p.Instances().List(ctx, web) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(info.Ref.Name, info.State)
	}
	// Unordered output:
	// web-1 stopped
	// web-2 stopped
}

func ExampleRun() {
	p := fake.New(fake.Options{})
	defer p.Close()
	exit, err := compute.Run(context.Background(), p.Instances(), compute.Spec{
		Name:    "hello",
		Image:   "busybox",
		Process: compute.Process{Command: []string{"echo", "hello"}},
	}, compute.RunOptions{Stdout: os.Stdout})
	fmt.Println(exit.Code, err)
	// Output:
	// hello
	// 0 <nil>
}

func ExampleOutput() {
	p, inst := start(compute.Spec{Name: "web", Image: "nginx"})
	defer p.Close()
	out, err := compute.Output(context.Background(), inst, "echo", "from inside")
	fmt.Printf("%s%v\n", out, err)
	_, err = compute.Output(context.Background(), inst, "false")
	var exit *compute.ExitError
	fmt.Println(errors.As(err, &exit), exit.Exit.Code)
	// Output:
	// from inside
	// <nil>
	// true 1
}

func ExampleExec() {
	ctx := context.Background()
	p, inst := start(compute.Spec{Name: "web", Image: "nginx"})
	defer p.Close()
	execution, err := compute.Exec(ctx, inst, compute.ExecSpec{
		Process: compute.Process{Command: []string{"env"}, Env: map[string]string{"GREETING": "hello", "PATH": "/bin"}},
		Stdout:  os.Stdout,
	})
	if err != nil {
		log.Fatal(err)
	}
	exit, err := execution.Wait(ctx)
	fmt.Println(exit.Code, err)
	// Output:
	// GREETING=hello
	// HOME=/root
	// PATH=/bin
	// 0 <nil>
}

func ExampleLogs() {
	ctx := context.Background()
	p, inst := start(compute.Spec{Name: "job", Image: "busybox", Process: compute.Process{Command: []string{"echo", "one line"}}})
	defer p.Close()
	for line, err := range compute.Logs(ctx, inst, compute.LogOptions{Follow: true}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %s\n", line.Stream, line.Text)
	}
	// Output: stdout: one line
}

func ExampleWaitFor() {
	ctx := context.Background()
	p, inst := start(compute.Spec{Name: "job", Image: "busybox", Process: compute.Process{Command: []string{"false"}}})
	defer p.Close()
	if _, err := inst.Wait(ctx, compute.WaitOptions{}); err != nil {
		log.Fatal(err)
	}
	_, err := compute.WaitFor(ctx, inst, compute.LevelRunning)
	fmt.Println(err)
	// Output: wait for instance "job": the instance is stopped, and must be running
}

func ExamplePause() {
	ctx := context.Background()
	p, inst := start(compute.Spec{Name: "web", Image: "nginx"})
	defer p.Close()
	fmt.Println(compute.Pause(ctx, inst))
	info, _ := inst.Info(ctx)
	fmt.Println(info.State)
	fmt.Println(compute.Resume(ctx, inst))
	// Output:
	// <nil>
	// paused
	// <nil>
}

func ExampleEnsure() {
	ctx := context.Background()
	p := fake.New(fake.Options{})
	defer p.Close()
	spec := compute.Spec{Name: "web", Image: "nginx"}
	first, err := compute.Ensure(ctx, p.Instances(), spec)
	if err != nil {
		log.Fatal(err)
	}
	spec.Labels = resource.Labels{"tier": "web"}
	second, err := compute.Ensure(ctx, p.Instances(), spec)
	if err != nil {
		log.Fatal(err)
	}
	info, _ := second.Info(ctx)
	fmt.Println(first.ID() == second.ID(), info.Labels)
	// Output: true map[tier:web]
}

func ExampleChange() {
	ctx := context.Background()
	p, inst := start(compute.Spec{Name: "web", Image: "nginx"})
	defer p.Close()
	grace := 30 * time.Second
	err := inst.Update(ctx, compute.Change{StopGrace: &grace})
	info, _ := inst.Info(ctx)
	fmt.Println(info.Spec.StopGrace, err)
	// Output: 30s <nil>
}

func ExampleNext() {
	_, allowed := compute.Next(compute.Paused, compute.OpExec)
	fmt.Println(allowed)
	t, allowed := compute.Next(compute.Paused, compute.OpResume)
	fmt.Println(t.To, allowed)
	// Output:
	// false
	// running true
}

func ExampleParseImageReference() {
	for _, text := range []string{"nginx", "ghcr.io/org/app:v1", "Nope"} {
		ref, err := compute.ParseImageReference(text)
		fmt.Println(ref, err)
	}
	// Output:
	// docker.io/library/nginx:latest <nil>
	// ghcr.io/org/app:v1 <nil>
	// / image: has a malformed repository: "Nope"
}

func ExampleRateOf() {
	now := time.Unix(0, 0)
	before := compute.Stats{Time: now, CPU: compute.CPUStats{Usage: 1 * time.Second}}
	after := compute.Stats{Time: now.Add(2 * time.Second), CPU: compute.CPUStats{Usage: 2 * time.Second}}
	rate, ok := compute.RateOf(before, after)
	fmt.Println(rate.CPUs, ok)
	// Output: 0.5 true
}
