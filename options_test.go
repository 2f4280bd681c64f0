package univirt_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/resource"
)

func TestOptionsValidate(t *testing.T) {
	const value = "the value must consist of letters, digits, '-', '_' and '.'"
	for name, c := range map[string]struct {
		options interface{ Validate() resource.Faults }
		faults  resource.Faults
	}{
		"no sweep":  {options: univirt.SweepOptions{}},
		"a sweep":   {options: univirt.SweepOptions{Owner: "deploy.1", All: true}},
		"a bad one": {univirt.SweepOptions{Owner: "a b"}, resource.Faults{{Field: "owner", Reason: value}}},
		"no adopt":  {options: univirt.AdoptOptions{}},
		"an adopt":  {options: univirt.AdoptOptions{Name: "web", Labels: resource.Labels{"tier": "db"}}},
		"a bad adopt": {
			univirt.AdoptOptions{Name: "a b", Labels: resource.Labels{"tier": "a b"}},
			resource.Faults{{Field: "name", Reason: resource.CheckName("a b")}, {Field: "labels[tier]", Reason: value}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.faults, c.options.Validate())
		})
	}
}
