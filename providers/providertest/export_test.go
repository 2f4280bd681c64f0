package providertest

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// instanceless are the cases for which no instance must be made.
var instanceless = []string{
	"Describe names provider, namespace and owner",
	"Describe tells the backend and whether its version was tested",
	"Describe tells the capacity, or -1 where it is not known",
	"Describe declares nothing that no package defines",
	"Describe declares fields that the specs have",
	"Describe tells how changes become known",
	"A part of a feature is declared with the whole only",
	"The accessors never return nil",
	"Images that are not offered are Unsupported to every call",
	"Volumes that are not offered are Unsupported to every call",
	"Networks that are not offered are Unsupported to every call",
	"A kind of instance that is not declared is Unsupported",
	"Arguments are checked before existence",
	"Existence is checked before the revision",
	"A NotFound tells the namespace that was looked in",
	"Faults of a spec come before fields that are not supported",
	"Create reports all faults at once",
}

// RunInstanceless runs them.
func RunInstanceless(t *testing.T, h Harness) {
	s, err := newSuite(t.Context(), h)
	require.NoError(t, err)
	t.Cleanup(func() { s.close(t) })
	ran := 0
	for _, g := range groups() {
		for _, c := range g.cases {
			if !slices.Contains(instanceless, c.name) {
				continue
			}
			ran++
			t.Run(c.name, func(t *testing.T) {
				require.Empty(t, s.missing(c))
				require.Empty(t, s.run(t, c))
			})
		}
	}
	require.Equal(t, len(instanceless), ran, "a case has another name")
}
