package resource_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/resource"
)

func TestFaults(t *testing.T) {
	var faults resource.Faults
	assert.NoError(t, faults.Err())
	assert.NoError(t, resource.Faults{}.Err())
	faults.AddReason("a", "")
	assert.Empty(t, faults)

	faults.Add("a", "must be %d", 1)
	faults.AddReason("b", "100% wrong")
	var part resource.Faults
	part.AddReason("c", "is bad")
	part.AddReason("[0].d", "is bad")
	part.AddReason("", "is bad as a whole")
	faults.Under("part", part)
	faults.Under("", resource.Faults{{Field: "e", Reason: "is bad"}, {Reason: "is all bad"}})
	assert.Equal(t, resource.Faults{
		{Field: "a", Reason: "must be 1"},
		{Field: "b", Reason: "100% wrong"},
		{Field: "part.c", Reason: "is bad"},
		{Field: "part[0].d", Reason: "is bad"},
		{Field: "part", Reason: "is bad as a whole"},
		{Field: "e", Reason: "is bad"},
		{Field: "", Reason: "is all bad"},
	}, faults)
	assert.EqualError(t, faults.Err(), "a: must be 1; b: 100% wrong; part.c: is bad; part[0].d: is bad; "+
		"part: is bad as a whole; e: is bad; is all bad")
}

func TestFaultsAreInvalidArgument(t *testing.T) {
	err := resource.Faults{{Field: "a", Reason: "is bad"}}.Err()
	for _, err := range []error{err, fmt.Errorf("wrapped: %w", err), errors.Join(errors.New("other"), err)} {
		assert.ErrorIs(t, err, errdefs.ErrInvalidArgument)
		assert.True(t, errdefs.IsInvalidArgument(err))
		assert.NotErrorIs(t, err, errdefs.ErrNotFound)
		// A target that cannot be compared must not panic.
		assert.NotErrorIs(t, err, resource.Faults{})
		assert.Equal(t, resource.Faults{{Field: "a", Reason: "is bad"}}, resource.FaultsOf(err))
		assert.Equal(t, errdefs.ErrInvalidArgument, resource.KindOf(err))
	}
	assert.Nil(t, resource.FaultsOf(nil))
	assert.Nil(t, resource.FaultsOf(errdefs.ErrInvalidArgument))
}

func TestMapField(t *testing.T) {
	for key, want := range map[string]string{
		"tier":                   "labels[tier]",
		"example.com/tier":       "labels[example.com/tier]",
		"":                       `labels[""]`,
		"a b":                    `labels["a b"]`,
		"a]b[c":                  `labels["a]b[c"]`,
		"a\nb":                   `labels["a\nb"]`,
		"ü":                      `labels["ü"]`,
		`a"b`:                    `labels["a\"b"]`,
		strings.Repeat("a", 317): "labels[" + strings.Repeat("a", 317) + "]",
		strings.Repeat("a", 318): `labels["` + strings.Repeat("a", 128) + `"...]`,
	} {
		assert.Equal(t, want, resource.MapField("labels", key))
	}
	require.Equal(t, "[tier]", resource.MapField("", "tier"))
}
