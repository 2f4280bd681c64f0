package network_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

func TestChangeSurvivesJSON(t *testing.T) {
	tier, note := "db", "any text"
	full := network.Change{
		Labels:      resource.LabelPatch{"tier": &tier, "old": nil},
		Annotations: resource.LabelPatch{"note": &note},
		IfRevision:  "7",
	}
	assert.Equal(t, resource.FieldPaths(network.Change{}), resource.SetFields(full), "every field is set")
	for _, c := range []struct {
		change network.Change
		text   string
	}{
		{network.Change{}, `{}`},
		{full, `{"labels":{"tier":"db","old":null},"annotations":{"note":"any text"},"ifRevision":"7"}`},
	} {
		data, err := json.Marshal(c.change)
		require.NoError(t, err)
		assert.JSONEq(t, c.text, string(data))
		var back network.Change
		require.NoError(t, json.Unmarshal(data, &back))
		assert.Equal(t, c.change, back)
	}
}
