package resource_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/resource"
)

func ExampleParseCPUs() {
	for _, text := range []string{"2", "0.5", "500m", "many"} {
		cores, err := resource.ParseCPUs(text)
		fmt.Println(resource.FormatCPUs(cores), err)
	}
	// Output:
	// 2 <nil>
	// 0.5 <nil>
	// 0.5 <nil>
	// 0 cpus: must be a number of cores, such as "2", "0.5" or "500m": "many"
}

func ExampleFormatSize() {
	fmt.Println(resource.FormatSize(512*resource.MiB), resource.FormatSize(3*resource.GiB/2), resource.FormatSize(1000))
	// Output: 512MiB 1536MiB 1000B
}

func ExampleCheckName() {
	for _, name := range []string{"web-1", "Web", ""} {
		fmt.Printf("%q\n", resource.CheckName(name))
	}
	// Output:
	// ""
	// "must consist of a-z, 0-9 and '-', has \"W\""
	// "must not be empty"
}

// A namespace is never asked for by ID, so its name may look like one.
func ExampleCheckNamespace() {
	id := resource.NewID()
	fmt.Printf("%q %q\n", resource.CheckNamespace(id), resource.CheckName(id))
	fmt.Printf("%q\n", resource.CheckNamespace("team/blue"))
	// Output:
	// "" "must not have the shape of an ID"
	// "must consist of a-z, 0-9 and '-', has \"/\""
}

// FaultsOf finds what a form has to show beside its fields.
func ExampleFaultsOf() {
	var faults resource.Faults
	faults.Add("name", "is required")
	faults.Add("memory", "must not be negative, is %d", -1)
	err := resource.Fail("create", resource.Ref{Kind: resource.KindInstance}, faults.Err())
	fmt.Println(errdefs.IsInvalidArgument(err))
	for _, fault := range resource.FaultsOf(err) {
		fmt.Println(fault.Field, "|", fault.Reason)
	}
	// Output:
	// true
	// name | is required
	// memory | must not be negative, is -1
}

func ExampleKindOf() {
	err := resource.Fail("start", resource.Ref{Kind: resource.KindInstance, Name: "web"}, errdefs.ErrUnavailable)
	fmt.Println(resource.KindOf(err), resource.Retryable(err))
	fmt.Println(resource.KindOf(resource.Unsupported("pause", "")) == errors.ErrUnsupported)
	// Output:
	// unavailable true
	// true
}

// What only the present labels have is left alone.
func ExamplePatchTo() {
	have := resource.Labels{"tier": "web", "old": "yes"}
	patch := resource.PatchTo(have, resource.Labels{"tier": "db"})
	fmt.Println(patch.Apply(have), len(patch))
	// Output: map[old:yes tier:db] 1
}

func ExampleDiff() {
	type spec struct {
		Name   string `json:"name"`
		Memory int64  `json:"memory"`
	}
	fmt.Println(resource.Diff(spec{"web", 1}, spec{"web", 2}))
	// Output: [memory]
}

func ExampleUntil() {
	noon := time.Date(2025, 1, 1, 12, 0, 0, 0, time.UTC)
	lifetime := resource.Until(noon)
	fmt.Println(lifetime.Expired(noon.Add(-time.Minute), false), lifetime.Expired(noon.Add(time.Minute), true))
	// Output: false true
}

// What somebody wants beside what is there: fields that are not set are left
// alone.
func ExampleUnmet() {
	type spec struct {
		Name   string `json:"name"`
		Memory int64  `json:"memory,omitempty"`
		CPUs   int    `json:"cpus,omitempty"`
	}
	have, want := spec{Name: "web", Memory: 1, CPUs: 2}, spec{Name: "web", Memory: 2}
	fmt.Println(resource.Unmet(have, want))
	fmt.Println(resource.Overlay(have, want))
	// Output:
	// [memory]
	// {web 2 2}
}

func ExampleCheckLabelKey() {
	for _, key := range []string{"tier", "example.com/tier", "a tier"} {
		fmt.Printf("%q\n", resource.CheckLabelKey(key))
	}
	// Output:
	// ""
	// ""
	// "the key must consist of letters, digits, '-', '_' and '.'"
}

func ExampleNewID() {
	id := resource.NewID()
	fmt.Println(len(id), resource.IsID(id), resource.IsID("web"))
	// Output: 36 true false
}

// A stored spec names the kind that it is for.
func ExampleMarshalSpec() {
	type spec struct {
		Name string `json:"name"`
	}
	text, err := resource.MarshalSpec(resource.KindVolume, spec{Name: "data"})
	fmt.Println(string(text), err)
	var read spec
	fmt.Println(resource.UnmarshalSpec(text, resource.KindVolume, &read), read.Name)
	fmt.Println(resource.UnmarshalSpec(text, resource.KindNetwork, &read))
	// Output:
	// {"apiVersion":"univirt.io/v1alpha1","kind":"volume","spec":{"name":"data"}} <nil>
	// <nil> data
	// decode network: kind: is "volume"
}

// The value may be empty, as that of a label which only marks.
func ExampleCheckLabelValue() {
	for _, value := range []string{"", "v1.2", "two words"} {
		fmt.Printf("%q\n", resource.CheckLabelValue(value))
	}
	// Output:
	// ""
	// ""
	// "the value must consist of letters, digits, '-', '_' and '.'"
}

// A key comes from outside, and must neither disturb a message nor look like
// another field.
func ExampleMapField() {
	fmt.Println(resource.MapField("labels", "tier"))
	fmt.Println(resource.MapField("labels", "a].b[c"))
	fmt.Println(resource.Quote("name\x1b[2J"))
	// Output:
	// labels[tier]
	// labels["a].b[c"]
	// "name\x1b[2J"
}

// A test of a spec holds that its sample has every field.
func ExampleSetFields() {
	type limits struct {
		Memory int64 `json:"memory"`
		PIDs   int64 `json:"pids"`
	}
	type spec struct {
		Name   string `json:"name"`
		Limits limits `json:"limits"`
	}
	fmt.Println(resource.FieldPaths(spec{}))
	fmt.Println(resource.SetFields(spec{Name: "web", Limits: limits{Memory: 1}}))
	// Output:
	// [name limits.memory limits.pids]
	// [name limits.memory]
}

// A template stays as it is, whatever becomes of the copy.
func ExampleClone() {
	type spec struct {
		Name   string
		Labels resource.Labels
	}
	template := spec{Labels: resource.Labels{"tier": "web"}}
	one := resource.Clone(template)
	one.Name, one.Labels["track"] = "one", "canary"
	fmt.Println(template.Labels, one.Labels)
	// Output: map[tier:web] map[tier:web track:canary]
}

// Identities from a seed are the same in each run of a test.
func ExampleNewIDFrom() {
	id, err := resource.NewIDFrom(rand.NewChaCha8([32]byte{7}))
	fmt.Println(id, resource.IsID(id), err)
	// Output: 0e42d4ca-e886-4908-a0b8-c7520e360aa4 true <nil>
}
