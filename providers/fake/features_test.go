package fake

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

func TestFieldsAreNarrowed(t *testing.T) {
	by := resource.FieldTable{}.
		Honored("name", "kind", "networkMode", "resources.cpus", "boot.kernel", "mounts[].type", "placement.zone").
		Hint("nobody acts on it", "image").
		Refused("no processes", "process.*").
		Refused("no network of the host's", "networkMode=host").
		Refused("no binds", "mounts[].type=bind")
	b := NewBackend(Options{Fields: map[compute.Kind]resource.FieldTable{compute.VM: by}})
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	fields := b.fieldsOf(compute.VM)
	for pattern, want := range map[string]resource.FieldRule{
		"name":             {Level: resource.FieldHonored},
		"networkMode":      {Level: resource.FieldHonored},
		"networkMode=host": {Level: resource.FieldRefused, Reason: "a virtual machine cannot share the host's network"},
		"mounts[].type=bind": {
			Level: resource.FieldRefused, Reason: "no binds",
		},
		"image":            {Level: resource.FieldHint, Reason: "nobody acts on it"},
		"process.command":  {Level: resource.FieldRefused, Reason: "no processes"},
		"resources.memory": {Level: resource.FieldRefused},
		"placement.zone":   {Level: resource.FieldHint, Reason: "the fake is one host"},
	} {
		assert.Equal(t, want, fields.Rule(pattern), pattern)
	}
	assert.Equal(t, plainFields[compute.Container], b.fieldsOf(compute.Container), "a kind that is not listed")
	assert.Equal(t, resource.FieldHonored, plainFields[compute.VM].Rule("image").Level, "the table itself stays")
	assert.Equal(t, []string{"fields[cloud]"}, fieldsOfFaults(Options{Fields: map[compute.Kind]resource.FieldTable{"cloud": nil}}.Validate()))
}

func fieldsOfFaults(faults resource.Faults) (fields []string) {
	for _, f := range faults {
		fields = append(fields, f.Field)
	}
	return fields
}
