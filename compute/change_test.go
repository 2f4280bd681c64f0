package compute_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

func TestChangeSurvivesJSON(t *testing.T) {
	grace, tier, note := time.Second, "db", "any text"
	full := compute.Change{
		Resources:   &compute.Resources{CPUs: 0.5, Memory: resource.GiB},
		Restart:     &compute.RestartPolicy{Mode: compute.RestartAlways},
		StopGrace:   &grace,
		Labels:      resource.LabelPatch{"tier": &tier, "old": nil},
		Annotations: resource.LabelPatch{"note": &note},
		Apply:       compute.ApplyLive,
		IfRevision:  "7",
	}
	for _, c := range []struct {
		change compute.Change
		text   string
	}{
		{compute.Change{}, `{}`},
		{full, `{"resources":{"cpus":0.5,"memory":1073741824},"restart":{"mode":"always"},"stopGrace":1000000000,
			"labels":{"tier":"db","old":null},"annotations":{"note":"any text"},"apply":"live","ifRevision":"7"}`},
	} {
		data, err := json.Marshal(c.change)
		require.NoError(t, err)
		assert.JSONEq(t, c.text, string(data))
		var back compute.Change
		require.NoError(t, json.Unmarshal(data, &back))
		assert.Equal(t, c.change, back)
	}
}
