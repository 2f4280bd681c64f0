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
	f.Add(`<domainsnapshot><name>one</name><parent><name>zero</name></parent><domain><name>web</name></domain></domainsnapshot>`)
	f.Add(`<domainsnapshot><name>../x</name><description>{}</description></domainsnapshot>`)
	f.Fuzz(func(t *testing.T, text string) {
		if k, ok := readKept(text); ok {
			require.True(t, resource.IsID(k.ID))
			require.Empty(t, resource.CheckName(k.name))
		}
	})
}

func TestASnapshotIsReadAsFarAsItsDomain(t *testing.T) {
	head := `<domainsnapshot><name>one</name><description>{"univirtSnapshot":"` + goldenID + `","memory":true}</description><state>running</state>` +
		`<parent><name>zero</name></parent><disks><disk name='vda'><name>two</name></disk></disks>`
	for _, text := range []string{
		head + `</domainsnapshot>`,
		head + `<domain type='qemu'><name>web</name><description>{}</description></domain></domainsnapshot>`,
	} {
		k, ok := readKept(text)
		require.True(t, ok, text)
		require.Equal(t, kept{keptState: keptState{ID: goldenID, Memory: true}, name: "one", parent: "zero", state: "running"}, k)
	}
	for _, text := range []string{"", "x", head, "<domain>" + head + "</domainsnapshot></domain>"} {
		_, ok := readKept(text)
		require.False(t, ok, text)
	}
}
