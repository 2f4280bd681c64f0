package compute_test

import (
	"context"
	"fmt"
	"log"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/providers/fake"
)

// A plan says what a provider would make of a spec, and changes nothing.
func ExamplePlanOf() {
	ctx := context.Background()
	p := fake.New(fake.Options{})
	defer p.Close()
	spec := compute.Spec{Name: "web", Image: "nginx", Placement: compute.Placement{Zone: "a"}}
	plan, err := compute.PlanOf(ctx, p.Instances(), spec)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(plan.Provider, plan.Format)
	for _, gap := range plan.Gaps {
		fmt.Println(gap.Field, "is a", gap.Level, "because", gap.Reason)
	}
	// Output:
	// fake fake-spec
	// placement.zone is a hint because the fake is one host
}

func ExampleParseEnv() {
	env, err := compute.ParseEnv([]string{"LANG=C", "GREETING=hello", "LANG=en", "EMPTY="})
	fmt.Println(env, err)
	_, err = compute.ParseEnv([]string{"no value"})
	fmt.Println(err)
	// Output:
	// map[EMPTY: GREETING:hello LANG:en] <nil>
	// env[0]: must have the form NAME=VALUE
}

func ExampleParseSignal() {
	for _, text := range []string{"SIGTERM", "KILL", "15", "SIGRTMIN+3", "SIGNOPE"} {
		number, err := compute.ParseSignal(text)
		fmt.Println(number, compute.SignalName(number), err)
	}
	// Output:
	// 15 SIGTERM <nil>
	// 9 SIGKILL <nil>
	// 15 SIGTERM <nil>
	// 37 SIGRTMIN+3 <nil>
	// 0  signal: is no signal: "SIGNOPE"
}

func ExampleFindPort() {
	ports := []network.Port{{Name: "http", Instance: 8080}}
	for _, text := range []string{"http", "443", "smtp"} {
		port, err := compute.FindPort(ports, text)
		fmt.Println(port.Instance, err)
	}
	// Output:
	// 8080 <nil>
	// 443 <nil>
	// 0 port: is neither a number from 1 to 65535 nor the name of a port: "smtp"
}

// The text keeps what a spec means, so that it can be stored and read later.
func ExampleEncode() {
	text, err := compute.Encode(compute.Spec{Name: "web", Image: "nginx", Process: compute.Process{Args: []string{"-v"}}})
	fmt.Println(string(text), err)
	spec, err := compute.Decode(text)
	fmt.Println(spec.Name, spec.Process.Args, err)
	// Output:
	// {"apiVersion":"univirt.io/v1alpha1","kind":"instance","spec":{"name":"web","image":"nginx","process":{"args":["-v"]}}} <nil>
	// web [-v] <nil>
}

func ExampleAbsentImages() {
	images := compute.AbsentImages("this provider boots from the network")
	_, err := images.Pull(context.Background(), "nginx", compute.PullOptions{})
	fmt.Println(err)
	// Output: pull image "nginx": images is not supported: this provider boots from the network
}
