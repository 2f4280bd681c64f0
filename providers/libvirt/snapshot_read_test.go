package libvirt

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/resource"
)

// FuzzKept holds that no description of a snapshot that somebody else wrote is more
// than one that is not ours.
func FuzzKept(f *testing.F) {
	f.Add(`<domainsnapshot><name>one</name><description>{"univirtSnapshot":"` + goldenID + `"}</description><state>running</state></domainsnapshot>`)
	f.Add(`<domainsnapshot><name>../x</name><description>{}</description></domainsnapshot>`)
	f.Fuzz(func(t *testing.T, text string) {
		if k, ok := readKept(text); ok {
			require.True(t, resource.IsID(k.ID))
			require.Empty(t, resource.CheckName(k.name))
		}
	})
}
