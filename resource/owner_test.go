package resource_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/resource"
)

func TestLifetime(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		lifetime                 resource.Lifetime
		string                   string
		whileAlive, whenOrphaned bool
	}{
		{resource.Lifetime{}, "persistent", false, false},
		{resource.Persistent, "persistent", false, false},
		{resource.Ephemeral, "ephemeral", false, true},
		{resource.Until(now), "until 2026-01-02T03:04:05Z", false, false},
		{resource.Until(now.Add(time.Hour)), "until 2026-01-02T04:04:05Z", false, false},
		{resource.Until(now.Add(-time.Nanosecond)), "until 2026-01-02T03:04:04Z", true, true},
	} {
		t.Run(c.string, func(t *testing.T) {
			assert.Equal(t, c.string, c.lifetime.String())
			assert.Equal(t, c.whileAlive, c.lifetime.Expired(now, true))
			assert.Equal(t, c.whenOrphaned, c.lifetime.Expired(now, false))
			assert.Empty(t, c.lifetime.Validate())
			data, err := json.Marshal(c.lifetime)
			require.NoError(t, err)
			var back resource.Lifetime
			require.NoError(t, json.Unmarshal(data, &back))
			assert.Equal(t, c.lifetime, back)
		})
	}
}

func TestLifetimeValidate(t *testing.T) {
	both := resource.Lifetime{Ephemeral: true, Until: time.Unix(1, 0)}
	assert.Equal(t, resource.Faults{{Field: "until", Reason: "must not be set together with ephemeral"}}, both.Validate())
	for _, absurd := range []time.Time{
		time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Unix(1<<60, 0),
		time.Date(2026, 1, 1, 0, 0, 0, 0, time.FixedZone("", 25*3600)),
	} {
		assert.Equal(t, resource.Faults{{Field: "until", Reason: "must be a time that RFC 3339 can express"}},
			resource.Until(absurd).Validate(), "%v", absurd)
	}
}
