package libvirt

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/resource"
)

// FuzzPlace holds that no name of a file is taken for another's.
func FuzzPlace(f *testing.F) {
	f.Add("volume.default.data." + goldenID + ".1")
	f.Add("volume.default.data")
	f.Add(goldenID + ".qcow2")
	f.Fuzz(func(t *testing.T, file string) {
		p, ok := parsePlace(file)
		if ok && p.id != "" {
			require.Equal(t, file, p.file())
		} else if ok {
			require.Equal(t, file, p.claim())
		}
	})
}

func TestADraftSaysWhoNeedsIt(t *testing.T) {
	d := draft{id: resource.NewID(), home: resource.NewID(), maker: resource.NewID()}
	file := d.file()
	require.NotEqual(t, file, d.file())
	back, ok := parseDraft(file)
	require.True(t, ok)
	require.Equal(t, d, back)
	for _, other := range []string{"", draftSuffix, d.id + "." + resource.NewID() + draftSuffix, file + "x", "x" + file} {
		_, ok := parseDraft(other)
		require.False(t, ok, other)
	}
}

// FuzzDocument holds that what is read is what was written.
func FuzzDocument(f *testing.F) {
	good, err := document{Kind: resource.KindVolume, Name: "a", ID: goldenID, Revision: 1}.encode()
	require.NoError(f, err)
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte("univirt.io/record/2\n"))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := decodeDocument(data)
		if err != nil {
			return
		}
		again, err := d.encode()
		require.NoError(t, err)
		back, err := decodeDocument(again)
		require.NoError(t, err)
		require.Equal(t, d.place(), back.place())
	})
}
