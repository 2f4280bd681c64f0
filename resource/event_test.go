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
		{Field: "selector[0].key", Reason: "the key must have 1 to 63 bytes"},
	}, resource.WatchOptions{Buffer: -1, Selector: resource.Select(resource.Exists(""))}.Validate())
}
