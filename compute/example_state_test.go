package compute_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/resource"
)

// The run goes on where it was: nothing in the instance notices but the clock.
func ExampleSuspend() {
	ctx := context.Background()
	p, inst := start(compute.Spec{Name: "desktop", Kind: compute.VM, Image: "debian"})
	defer p.Close()
	before, _ := inst.Info(ctx)
	fmt.Println(compute.Suspend(ctx, inst, compute.SuspendOptions{}))
	info, _ := inst.Info(ctx)
	fmt.Println(info.State)
	fmt.Println(inst.Start(ctx, compute.StartOptions{}))
	after, _ := inst.Info(ctx)
	fmt.Println(after.State, after.Run == before.Run)
	// Output:
	// <nil>
	// suspended
	// <nil>
	// running true
}

// Restart works with every instance.
func ExampleRestart() {
	ctx := context.Background()
	p, inst := start(compute.Spec{Name: "web", Image: "nginx"})
	defer p.Close()
	before, _ := inst.Info(ctx)
	fmt.Println(compute.Restart(ctx, inst, compute.StopOptions{}))
	after, _ := inst.Info(ctx)
	fmt.Println(after.State, after.Run == before.Run)
	// Output:
	// <nil>
	// running false
}

// Reset is the button of a machine: the guest is not asked, and the run goes on.
func ExampleReset() {
	ctx := context.Background()
	p, vm := start(compute.Spec{Name: "vm", Kind: compute.VM, Image: "debian"})
	defer p.Close()
	before, _ := vm.Info(ctx)
	fmt.Println(compute.Reset(ctx, vm))
	after, _ := vm.Info(ctx)
	fmt.Println(after.Run == before.Run)

	q, container := start(compute.Spec{Name: "web", Image: "nginx"})
	defer q.Close()
	fmt.Println(errors.Is(compute.Reset(ctx, container), errors.ErrUnsupported))
	// Output:
	// <nil>
	// true
	// true
}

func ExampleScreenshot() {
	ctx := context.Background()
	p, inst := start(compute.Spec{Name: "desktop", Kind: compute.VM, Image: "debian"})
	defer p.Close()
	picture, err := compute.Screenshot(ctx, inst, compute.ScreenshotOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(picture.Bounds().Size()) // png.Encode writes it to a file
	// Output: (32,24)
}

// Migrate needs a provider of several hosts.
func ExampleMigrate() {
	ctx := context.Background()
	p, inst := start(compute.Spec{Name: "web", Image: "nginx"})
	defer p.Close()
	err := compute.Migrate(ctx, inst, compute.MigrateOptions{Host: "host-2", Live: true})
	fmt.Println(errors.Is(err, errors.ErrUnsupported))
	// Output: true
}

func ExampleCheckTransition() {
	_, err := compute.CheckTransition(compute.Stopped, compute.OpPause)
	fmt.Println(err)
	t, err := compute.CheckTransition(compute.Running, compute.OpStart)
	fmt.Println(t.NoOp, err)
	// Output:
	// the instance is stopped, and must be running
	// true <nil>
}

// What a program offers for a paused instance.
func ExampleTransitions() {
	for _, t := range compute.Transitions() {
		if t.From == compute.Paused && !t.NoOp {
			fmt.Println(t.Op, "->", t.To)
		}
	}
	// Output:
	// stop -> stopped
	// resume -> running
	// restart -> running
	// update -> paused
	// delete (force) -> gone
}

// An update that would overwrite somebody else's is refused.
func ExampleChange_ifRevision() {
	ctx := context.Background()
	p, inst := start(compute.Spec{Name: "web", Image: "nginx"})
	defer p.Close()
	read, err := inst.Info(ctx)
	if err != nil {
		log.Fatal(err)
	}
	stable, canary := "stable", "canary"
	err = inst.Update(ctx, compute.Change{Labels: resource.LabelPatch{"track": &stable}})
	fmt.Println(err)
	err = inst.Update(ctx, compute.Change{Labels: resource.LabelPatch{"track": &canary}, IfRevision: read.Revision})
	fmt.Println(errdefs.IsAborted(err))
	// Output:
	// <nil>
	// true
}

func ExampleInstances_stats() {
	ctx := context.Background()
	p, inst := start(compute.Spec{Name: "web", Image: "nginx", Resources: compute.Resources{Memory: 512 * resource.MiB}})
	defer p.Close()
	for stats, err := range p.Instances().Stats(ctx, compute.Filter{IDs: []string{inst.ID()}}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(stats.Ref.Name, resource.FormatSize(stats.Memory.Limit))
	}
	// Output: web 512MiB
}

// What a user interface offers in each state, from the one table that every
// provider follows.
func ExampleStates() {
	for _, state := range compute.States() {
		var allowed []compute.Operation
		for _, op := range compute.Operations() {
			if t, err := compute.CheckTransition(state, op); err == nil && !t.NoOp {
				allowed = append(allowed, op)
			}
		}
		if state.Settled() {
			fmt.Println(state, allowed)
		}
	}
	// Output:
	// stopped [start restart update delete delete (force)]
	// running [stop pause suspend restart reset exec attach dial update delete (force)]
	// paused [stop resume restart update delete (force)]
	// suspended [start stop update delete delete (force)]
	// failed [delete delete (force)]
}

// What this release knows and a provider has not, with the provider's reasons.
func ExampleFeatures() {
	p := fake.New(fake.Options{})
	defer p.Close()
	about, err := p.Describe(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	missing := func(all []resource.Feature, offered resource.Features) {
		for _, feature := range all {
			if !offered.Has(feature) {
				fmt.Println(feature, "|", offered[feature].Reason)
			}
		}
	}
	missing(compute.Features(), about.Kinds[compute.VM].Features)
	missing(compute.ImageFeatures(), about.Images)
	// Output:
	// restart | Stop and Start do it
	// migrate | the fake is one host
}

// What a guest says of itself is for people to read: anybody in it can have it say
// something else.
func ExampleGuest() {
	ctx := context.Background()
	p, inst := start(compute.Spec{Name: "db", Kind: compute.VM, Image: "debian", Hostname: "db-1"})
	defer p.Close()
	guest, err := compute.Guest(ctx, inst)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(guest.Hostname, "runs", guest.OSName, guest.OSVersion, "on", guest.Kernel)
	// Output: db-1 runs Fake 1 on 1.0-fake
}
