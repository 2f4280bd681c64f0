package resource_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/univirt/univirt/resource"
)

func TestFeatures(t *testing.T) {
	features := resource.Features{
		"pause":    {Supported: true},
		"exec":     {Supported: true, Limits: map[string]string{"exec.output": "10MiB"}},
		"snapshot": {Reason: "the pool is a folder"},
	}
	assert.Equal(t, []resource.Feature{"exec", "pause"}, features.Names())
	assert.Nil(t, resource.Features(nil).Names())
	assert.True(t, features.Has("pause"))
	assert.NoError(t, features.Check("pause"))
	for feature, message := range map[resource.Feature]string{
		"snapshot": "snapshot is not supported: the pool is a folder",
		"migrate":  "migrate is not supported",
	} {
		assert.False(t, features.Has(feature))
		err := features.Check(feature)
		assert.ErrorIs(t, err, errors.ErrUnsupported)
		assert.EqualError(t, err, message)
	}
	assert.ErrorIs(t, resource.Features(nil).Check("pause"), errors.ErrUnsupported)
}
