package fake

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/univirt/univirt/resource"
)

// object is what every stored resource has. The backend's lock guards it.
type object struct {
	space    *space
	kind     resource.Kind
	name, id string
	// order is the place in the order of creation: lists are sorted by it, so
	// that the same test sees the same order.
	order       uint64
	labels      resource.Labels
	annotations resource.Annotations
	// owner is its maker's, which the maker's other records share. It is not nil.
	owner    *resource.Owner
	created  time.Time
	revision uint64
	// managed is false for what PlantForeign made.
	managed bool
	// making says that its Create has not finished: only Sweep may touch it
	// once its maker is dead.
	making bool
	// gone says that it was deleted while somebody held it.
	gone bool
}

func (o *object) revisionText() string { return strconv.FormatUint(o.revision, 10) }

// stored is a record that a table can hold: a pointer to a struct that embeds
// object.
type stored interface {
	meta() *object
	// stateText is the state for events; empty where the kind has none.
	stateText() string
	// lifetime is what the spec says.
	lifetime() resource.Lifetime
	// dump writes what Dump says of it, besides what every record has.
	dump(d *dumper)
}

func (o *object) meta() *object { return o }

func (o *object) stateText() string { return "" }

func (o *object) lifetime() resource.Lifetime { return resource.Lifetime{} }

// ref says which resource the record is of. It is put together when it is asked
// for: what thousands of records have in common none of them keeps.
func (o *object) ref() resource.Ref {
	return resource.Ref{Provider: Scheme, Kind: o.kind, Namespace: o.space.name, Name: o.name, ID: o.id}
}

// table holds the records of one kind in one namespace. The backend's lock
// guards it.
type table[R interface {
	comparable
	stored
}] struct {
	byID   map[string]R
	byName map[string]R
	// byLabel finds the records that have a label with a value, so that a
	// selector does not look at those it does not match.
	byLabel map[string]map[string]bearers[R]
}

// named reports whether the name is taken.
func (t *table[R]) named(name string) bool {
	_, ok := t.byName[name]
	return ok
}

// insert adds a record whose name is free.
func (t *table[R]) insert(r R) {
	if t.byID == nil {
		t.byID = make(map[string]R)
		t.byName = make(map[string]R)
		t.byLabel = make(map[string]map[string]bearers[R])
	}
	o := r.meta()
	t.byID[o.id] = r
	t.byName[o.name] = r
	t.index(r, o.labels)
}

// remove takes a record out and marks it gone.
func (t *table[R]) remove(r R) {
	o := r.meta()
	o.gone = true
	delete(t.byID, o.id)
	if t.byName[o.name] == r {
		delete(t.byName, o.name)
	}
	t.unindex(r, o.labels)
}

// relabel replaces a record's labels.
func (t *table[R]) relabel(r R, labels resource.Labels) {
	o := r.meta()
	t.unindex(r, o.labels)
	o.labels = labels
	t.index(r, labels)
}

// rename gives a record another name, which is free.
func (t *table[R]) rename(r R, name string) {
	o := r.meta()
	delete(t.byName, o.name)
	o.name = name
	t.byName[name] = r
}

// find returns the record of an ID or a name.
func (t *table[R]) find(idOrName string) (R, bool) {
	if r, ok := t.byID[idOrName]; ok {
		return r, true
	}
	r, ok := t.byName[idOrName]
	return r, ok
}

func (t *table[R]) index(r R, labels resource.Labels) {
	for key, value := range labels {
		values := t.byLabel[key]
		if values == nil {
			values = make(map[string]bearers[R])
			t.byLabel[key] = values
		}
		values[value] = values[value].with(r)
	}
}

func (t *table[R]) unindex(r R, labels resource.Labels) {
	for key, value := range labels {
		values := t.byLabel[key]
		if left := values[value].without(r); left.count() > 0 {
			values[value] = left
			continue
		}
		delete(values, value)
		if len(values) == 0 {
			delete(t.byLabel, key)
		}
	}
}

// bearers are the records that have one label with one value. Where many labels
// have a value of their own each, one record is all there is: it takes no map.
type bearers[R comparable] struct {
	// one is the only one where many is nil.
	one  R
	many map[R]struct{}
}

func (s bearers[R]) count() int {
	var none R
	switch {
	case s.many != nil:
		return len(s.many)
	case s.one != none:
		return 1
	}
	return 0
}

func (s bearers[R]) with(r R) bearers[R] {
	if s.count() == 0 {
		return bearers[R]{one: r}
	}
	if s.many == nil {
		s = bearers[R]{many: map[R]struct{}{s.one: {}}}
	}
	s.many[r] = struct{}{}
	return s
}

func (s bearers[R]) without(r R) bearers[R] {
	if s.many == nil {
		if s.one == r {
			return bearers[R]{}
		}
		return s
	}
	delete(s.many, r)
	return s
}

// each calls f with every one of them.
func (s bearers[R]) each(f func(r R)) {
	if s.many == nil && s.count() > 0 {
		f(s.one)
	}
	for r := range s.many {
		f(r)
	}
}

// selection says which records a list is about, besides what only the kind's own
// filter knows.
type selection struct {
	names, ids []string
	selector   resource.Selector
	// unmanaged also selects what PlantForeign made.
	unmanaged bool
}

// selects returns the records that the selection lets through, in the order of
// their creation. It looks at as few others as the indexes allow.
func (t *table[R]) selects(s selection) []R {
	var out []R
	add := func(r R) {
		o := r.meta()
		if (o.managed || s.unmanaged) &&
			(len(s.names) == 0 || slices.Contains(s.names, o.name)) &&
			(len(s.ids) == 0 || slices.Contains(s.ids, o.id)) &&
			s.selector.Matches(o.labels) {
			out = append(out, r)
		}
	}
	switch sets, ok := t.narrow(s.selector); {
	case len(s.ids) > 0:
		for i, id := range s.ids {
			if r, found := t.byID[id]; found && !slices.Contains(s.ids[:i], id) {
				add(r)
			}
		}
	case len(s.names) > 0:
		for i, name := range s.names {
			if r, found := t.byName[name]; found && !slices.Contains(s.names[:i], name) {
				add(r)
			}
		}
	case ok:
		for _, set := range sets {
			set.each(add)
		}
	default:
		out = make([]R, 0, len(t.byID))
		for _, r := range t.byID {
			add(r)
		}
	}
	slices.SortFunc(out, func(a, b R) int { return cmp.Compare(a.meta().order, b.meta().order) })
	return out
}

// sorted returns all records in the order of their creation.
func (t *table[R]) sorted() []R { return t.selects(selection{unmanaged: true}) }

// narrow returns disjoint sets that together hold every record the selector can
// match, by the requirement that leaves the fewest; false where none narrows.
func (t *table[R]) narrow(selector resource.Selector) ([]bearers[R], bool) {
	if selector.IsZero() {
		return nil, false
	}
	var best []bearers[R]
	fewest, found := 0, false
	for _, requirement := range selector.Requirements() {
		values := t.byLabel[requirement.Key]
		var sets []bearers[R]
		switch requirement.Operator {
		case resource.OpEquals, resource.OpIn:
			for i, value := range requirement.Values {
				if set := values[value]; set.count() > 0 && !slices.Contains(requirement.Values[:i], value) {
					sets = append(sets, set)
				}
			}
		case resource.OpExists:
			for _, set := range values {
				sets = append(sets, set)
			}
		default:
			continue
		}
		count := 0
		for _, set := range sets {
			count += set.count()
		}
		if !found || count < fewest {
			best, fewest, found = sets, count, true
		}
	}
	return best, found
}
