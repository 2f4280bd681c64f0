// Package watching tells readers what changes among the resources of a provider:
// what is there, then each change in order, and what was missed where something
// was. It knows no backend: a provider keeps a picture of what its backend has,
// and ranges over the changes of it.
package watching

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/univirt/univirt/resource"
)

// Subject is what a watch tells of a resource. It is never changed, but replaced.
type Subject struct {
	Ref     resource.Ref
	Managed bool
	// Names are those by which a watch finds it; an image may have several.
	Names  []string
	Labels resource.Labels
	// State is an instance's, else empty.
	State string
}

// Key identifies a resource among those of a provider.
type Key struct {
	Kind resource.Kind
	ID   string
}

// Key returns the subject's.
func (s *Subject) Key() Key { return Key{s.Ref.Kind, s.Ref.ID} }

// In returns the subject in another state.
func (s *Subject) In(state string) *Subject {
	out := *s
	out.State = state
	return &out
}

func sorted(all map[Key]*Subject) []*Subject {
	return slices.SortedFunc(maps.Values(all), func(a, b *Subject) int {
		return cmp.Or(cmp.Compare(a.Ref.Kind, b.Ref.Kind), cmp.Compare(a.Ref.Name, b.Ref.Name), cmp.Compare(a.Ref.ID, b.Ref.ID))
	})
}

// change is something that happened to a resource: it came to be where before is
// nil, and is gone where after is.
type change struct {
	before, after *Subject
	reason        string
	at            time.Time
}

// Picture is what is known to be there. It is changed in Board.Change only.
type Picture struct {
	subjects map[Key]*Subject
	tell     func(change)
}

// Get returns what is known of a resource, nil where nothing is.
func (p *Picture) Get(key Key) *Subject { return p.subjects[key] }

// All returns everything that is known, sorted.
func (p *Picture) All() []*Subject { return sorted(p.subjects) }

// Set tells what a resource is from now on.
func (p *Picture) Set(s *Subject, reason string, at time.Time) {
	before := p.subjects[s.Key()]
	p.subjects[s.Key()] = s
	p.tell(change{before, s, reason, at})
}

// Remove tells that a resource is gone. One that is not known is of no concern.
func (p *Picture) Remove(key Key, at time.Time) {
	if before := p.subjects[key]; before != nil {
		delete(p.subjects, key)
		p.tell(change{before: before, at: at})
	}
}
