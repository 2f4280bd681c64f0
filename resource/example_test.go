package resource_test

import (
	"errors"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/resource"
)

func ExampleParseSelector() {
	s, err := resource.ParseSelector("tier=web, zone in (a,b), !legacy")
	fmt.Println(s, err)
	fmt.Println(s.Matches(resource.Labels{"tier": "web", "zone": "b"}))
	fmt.Println(s.Matches(resource.Labels{"tier": "web", "zone": "b", "legacy": ""}))
	// Output:
	// tier=web,zone in (a,b),!legacy <nil>
	// true
	// false
}

func ExampleSelect() {
	s := resource.Select(
		resource.Equals("tier", "web"), resource.NotEquals("track", "canary"),
		resource.In("zone", "a", "b"), resource.NotIn("rack", "7"),
		resource.Exists("owner"), resource.DoesNotExist("legacy"),
	)
	fmt.Println(s)
	fmt.Println(s.Matches(resource.Labels{"tier": "web", "zone": "a", "owner": "me"}))
	// Output:
	// tier=web,track!=canary,zone in (a,b),rack notin (7),owner,!legacy
	// true
}

func ExampleParseSize() {
	for _, text := range []string{"512MiB", "1.5GiB", "10GB", "512m"} {
		fmt.Println(resource.ParseSize(text))
	}
	// Output:
	// 536870912 <nil>
	// 1610612736 <nil>
	// 10000000000 <nil>
	// 0 size: must have one of the units B, KiB, MiB, GiB, TiB, kB, MB, GB, TB: "512m"
}

func ExampleError() {
	err := resource.Fail("start", resource.Ref{Kind: resource.KindInstance, Name: "web"},
		resource.Errorf(errdefs.ErrResourceExhausted, "no memory left"))
	fmt.Println(err)
	fmt.Println(errdefs.IsResourceExhausted(err))
	var e *resource.Error
	fmt.Println(errors.As(err, &e), e.Op, e.Ref.Name, e.Outcome)
	// Output:
	// start instance "web": no memory left
	// true
	// true start web not done
}

func ExampleSecret() {
	password := resource.NewSecret("correct horse")
	fmt.Printf("%v %+v %q\n", password, password, password)
	fmt.Println(password.Reveal())
	// Output:
	// [redacted] [redacted] [redacted]
	// correct horse
}

func ExampleFieldTable_Refuse() {
	type spec struct {
		Name   string `json:"name"`
		Memory int64  `json:"memory"`
		Turbo  bool   `json:"turbo"`
	}
	table := resource.FieldTable{}.Honored("name", "memory").Refused("this machine has no turbo", "turbo")
	fmt.Println(table.Refuse(spec{Name: "web", Memory: 1 << 30}))
	fmt.Println(resource.Fail("create", resource.Ref{Kind: resource.KindInstance, Name: "web"}, table.Refuse(spec{Name: "web", Turbo: true})))
	// Output:
	// <nil>
	// create instance "web": turbo: is not supported: this machine has no turbo
}
