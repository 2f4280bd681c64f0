package resource_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/univirt/univirt/resource"
)

func TestWatchOptionsValidate(t *testing.T) {
	assert.Empty(t, resource.WatchOptions{}.Validate())
	assert.Empty(t, resource.WatchOptions{Buffer: 1, Selector: resource.Select(resource.Exists("a"))}.Validate())
	assert.Equal(t, resource.Faults{
		{Field: "buffer", Reason: "must not be negative"},
		{Field: "kinds[1]", Reason: `is not a kind: "instances"`},
		{Field: "names[0]", Reason: "is empty"},
		{Field: "selector[0].key", Reason: "the key must have 1 to 63 bytes"},
	}, resource.WatchOptions{
		Buffer: -1, Selector: resource.Select(resource.Exists("")), Names: []string{"", "web"},
		Kinds: []resource.Kind{resource.KindInstance, "instances"},
	}.Validate())
	assert.Empty(t, resource.WatchOptions{Kinds: resource.Kinds()}.Validate())
}
