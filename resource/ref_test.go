package resource_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/resource"
)

func TestRef(t *testing.T) {
	for _, c := range []struct {
		ref           resource.Ref
		label, string string
	}{
		{resource.Ref{}, "", ""},
		{resource.Ref{Kind: resource.KindInstance}, "instance", "instance"},
		{resource.Ref{Name: "web"}, `"web"`, "web"},
		{resource.Ref{Kind: resource.KindVolume, ID: "1"}, `volume "1"`, "volume (1)"},
		{resource.Ref{ID: "1"}, `"1"`, "1"},
		{
			resource.Ref{Provider: "fake", Kind: resource.KindInstance, Namespace: "default", Name: "web", ID: "1"},
			`instance "web"`, "fake:default/instance/web (1)",
		},
		{resource.Ref{Kind: resource.KindInstance, Name: "a\nb"}, `instance "a\nb"`, `instance/"a\nb"`},
	} {
		assert.Equal(t, c.label, c.ref.Label())
		assert.Equal(t, c.string, c.ref.String())
		assert.Equal(t, c.ref == resource.Ref{}, c.ref.IsZero())
	}
}

func TestRefSurvivesJSON(t *testing.T) {
	for _, ref := range []resource.Ref{
		{},
		{Provider: "fake", Kind: resource.KindInstance, Namespace: "default", Name: "web", ID: someID},
		{Kind: resource.KindImage, ID: "sha256:0"},
	} {
		data, err := json.Marshal(ref)
		require.NoError(t, err)
		var back resource.Ref
		require.NoError(t, json.Unmarshal(data, &back))
		assert.Equal(t, ref, back)
		assert.Equal(t, 1, map[resource.Ref]int{ref: 1}[back], "a ref is a map's key")
	}
}
