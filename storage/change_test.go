package storage_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

func TestChangeSurvivesJSON(t *testing.T) {
	tier, note := "db", "any text"
	full := storage.Change{
		Labels:      resource.LabelPatch{"tier": &tier, "old": nil},
		Annotations: resource.LabelPatch{"note": &note},
		IfRevision:  "7",
	}
	assert.Equal(t, resource.FieldPaths(storage.Change{}), resource.SetFields(full), "every field is set")
	for _, c := range []struct {
		change storage.Change
		text   string
	}{
		{storage.Change{}, `{}`},
		{full, `{"labels":{"tier":"db","old":null},"annotations":{"note":"any text"},"ifRevision":"7"}`},
	} {
		data, err := json.Marshal(c.change)
		require.NoError(t, err)
		assert.JSONEq(t, c.text, string(data))
		var back storage.Change
		require.NoError(t, json.Unmarshal(data, &back))
		assert.Equal(t, c.change, back)
	}
}
