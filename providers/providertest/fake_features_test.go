package providertest

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/containerd"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/providers/libvirt"
	"github.com/univirt/univirt/resource"
)

// featureless are the groups whose cases take long and are about no feature.
var featureless = []string{"supervision", "bad input", "loops", "exec output", "cancel", "outages", "hangs", "leaks"}

// TestFakeWithFeaturesOfOthers holds that a fake which offers no more than another
// provider keeps the contract of such a provider.
func TestFakeWithFeaturesOfOthers(t *testing.T) {
	for name, c := range map[string]struct {
		kind     compute.Kind
		features fake.Features
	}{
		"containerd": {compute.Container, fake.FeaturesOf(univirt.Description{
			Kinds:  map[compute.Kind]univirt.KindDescription{compute.Container: containerd.Containers()},
			Images: containerd.ImageFeatures(),
		})},
		"libvirt": {compute.VM, fake.FeaturesOf(univirt.Description{
			Kinds:    map[compute.Kind]univirt.KindDescription{compute.VM: libvirt.Machines()},
			Images:   libvirt.ImageFeatures(),
			Volumes:  univirt.ResourceDescription{Features: libvirt.VolumeFeatures()},
			Networks: univirt.ResourceDescription{Features: libvirt.NetworkFeatures()},
		})},
		"nothing": {compute.VM, fake.FeaturesOf(univirt.Description{
			Kinds: map[compute.Kind]univirt.KindDescription{compute.Container: {Features: resource.Features{}}, compute.VM: {Features: resource.Features{}}},
		})},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := newSuite(t.Context(), fakeHarnessOf(t, c.kind, fake.Options{Features: c.features}))
			require.NoError(t, err)
			t.Cleanup(func() { s.close(t) })
			for _, g := range groups() {
				if slices.Contains(featureless, g.name) {
					continue
				}
				for _, c := range g.cases {
					t.Run(g.name+"/"+c.name, func(t *testing.T) {
						if reason := s.missing(c); reason != "" {
							t.Skip("not offered: " + reason)
						}
						t.Parallel()
						s.run(t, c)
					})
				}
			}
		})
	}
}
