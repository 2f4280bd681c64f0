package libvirt

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

const (
	digestA = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	digestB = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

func at(second int64) time.Time { return time.Unix(second, 0).UTC() }

// filed returns the record of an image that got its names at the seconds given.
func filed(t *testing.T, id, digest string, names map[string]int64) document {
	t.Helper()
	f := imageFacts{Digest: digest, Format: compute.QCOW2, VirtualSize: 1 << 30, Size: 1 << 20}
	for name, since := range names {
		f = f.named(name, at(since))
	}
	d, err := document{Kind: resource.KindImage, Namespace: "team", Name: id, ID: id, Created: at(int64(len(id)))}.withImage(f)
	require.NoError(t, err)
	return d
}

func TestTheImageOfAName(t *testing.T) {
	const one, two = "localhost/one:1", "localhost/two:2"
	for name, c := range map[string]struct {
		docs  []document
		asked string
		want  string // digest; empty: none
		names []string
	}{
		"by its name":         {[]document{filed(t, "a", digestA, map[string]int64{one: 1})}, one, digestA, []string{one}},
		"by a short name":     {[]document{filed(t, "a", digestA, map[string]int64{"docker.io/library/disk:latest": 1})}, "disk", digestA, []string{"docker.io/library/disk:latest"}},
		"by its ID":           {[]document{filed(t, "a", digestA, map[string]int64{one: 1})}, digestA, digestA, []string{one}},
		"by a name and an ID": {[]document{filed(t, "a", digestA, map[string]int64{one: 1})}, "localhost/other@" + digestA, digestA, []string{one}},
		"by another name":     {[]document{filed(t, "a", digestA, map[string]int64{one: 1})}, two, "", nil},
		"without a name":      {[]document{filed(t, "a", digestA, nil)}, digestA, digestA, nil},
		"the last that has it": {[]document{
			filed(t, "a", digestA, map[string]int64{one: 2, two: 1}), filed(t, "b", digestB, map[string]int64{two: 2}),
		}, two, digestB, []string{two}},
		"the one that lost it": {[]document{
			filed(t, "a", digestA, map[string]int64{one: 2, two: 1}), filed(t, "b", digestB, map[string]int64{two: 2}),
		}, digestA, digestA, []string{one}},
		"stored twice": {[]document{
			filed(t, "a", digestA, map[string]int64{one: 1}), filed(t, "bb", digestA, map[string]int64{two: 1}),
		}, two, digestA, []string{one, two}},
		"in the making":  {[]document{filed(t, "a", digestA, map[string]int64{one: 1}).begun(making, "g", time.Minute)}, one, "", nil},
		"on its way out": {[]document{filed(t, "a", digestA, map[string]int64{one: 1}).begun(removing, "g", time.Minute)}, digestA, "", nil},
	} {
		img, err := catalogued(c.docs).find(c.asked)
		if c.want == "" {
			assert.ErrorIs(t, err, errdefs.ErrNotFound, name)
			continue
		}
		require.NoError(t, err, name)
		assert.Equal(t, c.want, img.Digest, name)
		assert.Equal(t, c.names, img.names, name)
	}
}

func TestAnImageThatCannotBeRead(t *testing.T) {
	broken := filed(t, "b", digestB, nil)
	broken.fault = resource.Errorf(errdefs.ErrFailedPrecondition, "made by another release")
	c := catalogued([]document{filed(t, "a", digestA, map[string]int64{"localhost/one:1": 1}), broken})
	_, err := c.find("localhost/one:1")
	require.NoError(t, err)
	_, err = c.find("localhost/two:1")
	require.ErrorIs(t, err, errdefs.ErrFailedPrecondition, "it may be the one that cannot be read")
	c = catalogued([]document{{ID: "c", More: json.RawMessage(`{"names":3}`)}})
	require.ErrorIs(t, c.fault, errdefs.ErrDataLoss)
}

func TestWhatIsToldOfAnImage(t *testing.T) {
	img, err := catalogued([]document{filed(t, "a", digestA, map[string]int64{"localhost/one:1": 1, "localhost/two:1": 1})}).find(digestA)
	require.NoError(t, err)
	info := img.info("team", img.asked("localhost/two:1"))
	assert.Equal(t, resource.Ref{Provider: Scheme, Kind: resource.KindImage, Namespace: "team", Name: "localhost/two:1", ID: digestA}, info.Ref)
	assert.Equal(t, compute.Disk, info.Form)
	assert.Equal(t, []string{"localhost/one:1", "localhost/two:1"}, info.Names)
	assert.Equal(t, "localhost/one:1", img.asked(digestA))
}
