package providertest

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

func TestEveryFieldHasASample(t *testing.T) {
	for _, path := range resource.FieldPaths(compute.Spec{}) {
		set, ok := samples[path]
		if !assert.True(t, ok, "no sample sets %s", path) {
			continue
		}
		spec := compute.Spec{Name: "web", Kind: compute.Container, Image: "web", Process: compute.Process{Command: []string{"web"}}}
		set(&spec)
		assert.Empty(t, spec.Validate(), path)
		var fields []string
		for _, field := range resource.SetFields(spec) {
			fields = append(fields, strings.ReplaceAll(field, "[0]", "[]"))
		}
		assert.Contains(t, fields, path, "the sample of %s does not set it", path)
	}
	for path := range samples {
		assert.Contains(t, resource.FieldPaths(compute.Spec{}), path, "a sample of no field")
	}
	for _, path := range resource.FieldPaths(compute.Change{}) {
		if path == "apply" || path == "ifRevision" {
			continue
		}
		set, ok := changeSamples[path]
		if assert.True(t, ok, "no sample changes %s", path) {
			var c compute.Change
			set(&c)
			assert.Empty(t, c.Validate(), path)
			assert.Contains(t, resource.SetFields(c), path)
		}
	}
}

func TestEveryBadSpecHasTheFaultThatItSays(t *testing.T) {
	for _, b := range badSpecs() {
		spec := compute.Spec{Name: "web", Image: "web", Process: compute.Process{Command: []string{GuestPath}}}
		require.Empty(t, spec.Validate())
		b.spoil(&spec)
		faults := spec.Validate()
		if assert.NotEmpty(t, faults, b.says) {
			assert.Equal(t, b.field, faults[0].Field, b.says)
		}
	}
}

func TestCasesAreNamedApart(t *testing.T) {
	seen := map[string]bool{}
	for _, g := range groups() {
		for _, c := range g.cases {
			assert.False(t, seen[g.name+"/"+c.name], "two cases are named %q in %s", c.name, g.name)
			seen[g.name+"/"+c.name] = true
			assert.NotNil(t, c.run, c.name)
		}
	}
}

// TestEveryFeatureHasACase holds that there is a case for all that a provider may
// declare, so that Run can demand one.
func TestEveryFeatureHasACase(t *testing.T) {
	needed := map[need]bool{}
	for _, g := range groups() {
		for _, c := range g.cases {
			for _, n := range c.needs {
				needed[n] = true
			}
		}
	}
	var all []need
	all = append(all, has(compute.Features()...)...)
	all = append(all, hasImages(compute.ImageFeatures()...)...)
	all = append(all, hasVolumes(storage.Features()...)...)
	all = append(all, hasNetworks(network.Features()...)...)
	for _, n := range all {
		assert.True(t, needed[n], "no case needs %s", n)
	}
}
