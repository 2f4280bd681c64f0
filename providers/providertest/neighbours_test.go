package providertest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
)

// TestNeighboursAreShared runs the cases that look at networks and dial where those share
// instances, which the fake's do not otherwise.
func TestNeighboursAreShared(t *testing.T) {
	h := fakeHarness(t, compute.VM)
	h.Shared = true
	s, err := newSuite(t.Context(), h)
	require.NoError(t, err)
	defer s.close(t)
	t.Run("cases", func(t *testing.T) {
		for _, g := range groups() {
			if g.name != "networks" && g.name != "dial" {
				continue
			}
			for _, c := range g.cases {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					if reason := s.missing(c); reason != "" {
						t.Skip("not offered: " + reason)
					}
					if left := s.run(t, c); left != "" {
						t.Skip("not offered: " + left)
					}
				})
			}
		}
	})
	n, err := s.neighbours()
	require.NoError(t, err)
	lan, err := n.lan.Info(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, lan.Endpoints, "what the cases have left on the network that they share")
}
