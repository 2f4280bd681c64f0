package fake

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/resource"
)

// TestKnownWordsAreThoseOfTheContract reads the constants where the policy test keeps
// them.
func TestKnownWordsAreThoseOfTheContract(t *testing.T) {
	api, err := os.ReadFile("../../api/resource.txt")
	require.NoError(t, err)
	constants := func(pattern string) (values []string) {
		for _, found := range regexp.MustCompile(`(?m)^const `+pattern+` = "(.*)"$`).FindAllSubmatch(api, -1) {
			values = append(values, string(found[1]))
		}
		return values
	}
	assert.ElementsMatch(t, append(constants(`Reason\w+`), string(resource.EventDeleted)), eventReasons)
	var kinds []string
	for _, kind := range append(slices.Clone(targetKinds), resource.KindSnapshot) {
		kinds = append(kinds, string(kind))
	}
	assert.ElementsMatch(t, constants(`Kind\w+ Kind`), kinds)
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     int
	}{
		{"", "", 0}, {"start", "start", 0}, {"", "stop", 4}, {"start", "strt", 1}, {"stop", "stopp", 1},
		{"start", "stats", 2}, {"pause", "cause", 1}, {"delete", "create", 4}, {"é", "e", 2},
	} {
		assert.Equal(t, c.want, distance(c.from, c.to), "%s to %s", c.from, c.to)
		assert.Equal(t, c.want, distance(c.to, c.from), "%s to %s", c.to, c.from)
	}
}

func TestNearest(t *testing.T) {
	for _, op := range ops {
		assert.Equal(t, []Op{op}, nearest(op, ops))
		for _, part := range []string{op.verb(), strings.ToUpper(op.verb()), "thing/" + op.verb()} {
			assert.Contains(t, nearest(Op(part), ops), op)
		}
	}
	assert.Equal(t, []string{resource.ReasonStart}, nearest("starts", eventReasons))
	assert.Equal(t, []resource.Kind{resource.KindInstance}, nearest("Instances", targetKinds))
	for _, word := range []string{"explode", "", "/", "instance/", "\xff", strings.Repeat("a", 300)} {
		assert.Empty(t, nearest(word, eventReasons), word)
	}
}
