package resource_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/resource"
)

func usual() (resource.FieldTable, wish) {
	spec := wish{
		Name: "web", Size: resource.GiB, Tags: []string{"a"}, Labels: map[string]string{"tier": "web"},
		Part: part{Count: 2, Args: []string{"serve"}}, Mounts: []part{{Count: 1}, {Count: 2}},
	}
	return resource.FieldTable{}.Honored(resource.FieldPaths(spec)...), spec
}

// Every Create checks, clones and compares its spec: what that costs must not
// creep up. The bounds are what was measured, with a little room.
func TestAllocations(t *testing.T) {
	table, spec := usual()
	other := resource.Clone(spec)
	selector := resource.Select(resource.Equals("tier", "web"), resource.NotIn("a", "b"))
	for name, c := range map[string]struct {
		most float64
		do   func()
	}{
		"refuse":  {8, func() { _ = table.Refuse(&spec) }},
		"clone":   {12, func() { _ = resource.Clone(spec) }},
		"diff":    {56, func() { _ = resource.Diff(&spec, &other) }},
		"unmet":   {56, func() { _ = resource.Unmet(&other, &spec) }},
		"matches": {0, func() { _ = selector.Matches(spec.Labels) }},
	} {
		assert.LessOrEqual(t, testing.AllocsPerRun(100, c.do), c.most, name)
	}
}

func BenchmarkRefuse(b *testing.B) {
	table, spec := usual()
	require.NoError(b, table.Refuse(&spec))
	b.ReportAllocs()
	for b.Loop() {
		_ = table.Refuse(&spec)
	}
}

func BenchmarkClone(b *testing.B) {
	_, spec := usual()
	b.ReportAllocs()
	for b.Loop() {
		_ = resource.Clone(spec)
	}
}

func BenchmarkUnmet(b *testing.B) {
	_, spec := usual()
	other := resource.Clone(spec)
	b.ReportAllocs()
	for b.Loop() {
		_ = resource.Unmet(&other, &spec)
	}
}

func BenchmarkParseSelector(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := resource.ParseSelector("tier=web,track!=canary,zone in (a,b)"); err != nil {
			b.Fatal(err)
		}
	}
}
