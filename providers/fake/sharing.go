package fake

import (
	"hash/maphash"
	"maps"

	"github.com/univirt/univirt/compute"
)

// sharing has records with equal labels, annotations and environments share one
// map of them, which nobody changes. It knows only the maps that it saw last, one
// for each remainder of their hash, so it holds nothing of what is long gone. The
// backend's lock guards it.
type sharing struct {
	seed maphash.Seed
	last [64]map[string]string
}

func newSharing() sharing { return sharing{seed: maphash.MakeSeed()} }

// one returns a map that equals m: m itself or one that others have already.
func (s *sharing) one(m map[string]string) map[string]string {
	if len(m) == 0 {
		return m
	}
	var sum uint64
	for key, value := range m {
		sum += maphash.String(s.seed, key) ^ 3*maphash.String(s.seed, value)
	}
	last := &s.last[sum%uint64(len(s.last))]
	if !maps.Equal(*last, m) {
		*last = m
	}
	return *last
}

// spec has a spec share what it can. It must be the record's own.
func (s *sharing) spec(spec *compute.Spec) {
	spec.Labels = s.one(spec.Labels)
	spec.Annotations = s.one(spec.Annotations)
	spec.Process.Env = s.one(spec.Process.Env)
}
