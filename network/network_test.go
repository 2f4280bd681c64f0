package network_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

func TestFilter(t *testing.T) {
	info := network.Info{Ref: resource.Ref{Name: "backend", ID: someID}, Managed: true, Labels: resource.Labels{"tier": "web"}}
	foreign := info
	foreign.Managed = false
	for _, c := range []struct {
		filter           network.Filter
		managed, foreign bool
	}{
		{network.Filter{}, true, false},
		{network.Filter{Unmanaged: true}, true, true},
		{network.Filter{Names: []string{"other", "backend"}}, true, false},
		{network.Filter{Names: []string{"other"}, Unmanaged: true}, false, false},
		{network.Filter{IDs: []string{someID}, Unmanaged: true}, true, true},
		{network.Filter{IDs: []string{"other"}}, false, false},
		{network.Filter{Selector: resource.Select(resource.Equals("tier", "web"))}, true, false},
		{network.Filter{Selector: resource.Select(resource.DoesNotExist("tier"))}, false, false},
		{network.Filter{Names: []string{"backend"}, IDs: []string{"other"}}, false, false},
	} {
		assert.Equal(t, c.managed, c.filter.Matches(info), "%+v", c.filter)
		assert.Equal(t, c.foreign, c.filter.Matches(foreign), "%+v", c.filter)
		assert.Empty(t, c.filter.Validate())
	}
	assert.Equal(t, resource.Faults{{Field: "selector[0].key", Reason: "the key must have 1 to 63 bytes"}},
		network.Filter{Selector: resource.Select(resource.Exists(""))}.Validate())
}

func TestChangeValidate(t *testing.T) {
	text := "a b"
	assert.Empty(t, network.Change{}.Validate())
	assert.Empty(t, network.Change{Labels: resource.LabelPatch{"a": nil}, Annotations: resource.LabelPatch{"a": &text}}.Validate())
	assert.Equal(t, resource.Faults{
		{Field: "labels[a]", Reason: "the value must consist of letters, digits, '-', '_' and '.'"},
		{Field: "annotations[univirt.io/a]", Reason: "the prefix univirt.io/ is reserved"},
	}, network.Change{
		Labels: resource.LabelPatch{"a": &text}, Annotations: resource.LabelPatch{"univirt.io/a": &text},
	}.Validate())
}
