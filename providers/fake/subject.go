package fake

import (
	"fmt"
	"slices"
	"strings"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// subject is what the calls of an operation, or the events of a reason, are about: all
// that a site can be narrowed down by.
type subject struct {
	// kinds are none where calls are about no resource.
	kinds []resource.Kind
	// named says that they are about one resource each, and labelled that its labels
	// are known.
	named, labelled bool
	// guests are the kinds of instance that they can be about.
	guests []compute.Kind
}

// subject says what the calls of an operation are about.
func (o Op) subject() subject {
	kind, _, _ := strings.Cut(string(o), "/")
	s := subject{kinds: []resource.Kind{resource.Kind(kind)}, named: true, labelled: true}
	switch kind {
	case "execution", "attachment":
		s.kinds = []resource.Kind{resource.KindInstance}
	case "image", "endpoint":
		s.labelled = false
	case "provider":
		s.kinds = []resource.Kind{resource.KindInstance}
	}
	switch o {
	case OpDescribe, OpSweep, OpListPools:
		return subject{}
	case OpList, OpStats, OpListImages, OpListVolumes, OpListNetworks:
		s.named, s.labelled = false, false
		return s
	case OpReserve, OpListEndpoints:
		s.kinds, s.labelled = []resource.Kind{resource.KindNetwork}, true
	}
	if s.kinds[0] == resource.KindInstance {
		s.guests = guestKinds
	}
	return s
}

// subjectOfEvents says what the events of a reason are about.
func subjectOfEvents(reason Op) subject {
	s := subject{kinds: []resource.Kind{resource.KindInstance}, named: true, labelled: true}
	switch string(reason) {
	case resource.ReasonCreate, resource.ReasonUpdate, string(resource.EventDeleted):
		s.kinds = []resource.Kind{resource.KindInstance, resource.KindImage, resource.KindVolume, resource.KindNetwork}
	}
	return s
}

// admits reports whether a resource may have this name or ID.
func (s subject) admits(nameOrID string) bool {
	return s.named && slices.ContainsFunc(s.kinds, func(kind resource.Kind) bool {
		if kind == resource.KindImage {
			return compute.CheckImageReference(nameOrID) == ""
		}
		return checkIDOrName(nameOrID) == nil
	})
}

// validate returns why the fault can never strike where these are offered, or nil.
func (f Fault) validate(offers Features) error {
	faults := slices.Clone(f.site.faults)
	if f.action == none {
		faults.Add("fault", "was not made by a site")
	}
	if len(faults) == 0 {
		faults = f.impossible(offers)
	}
	return faults.Err()
}

// impossible says why no call or event can be at the fault's site.
func (f Fault) impossible(offers Features) resource.Faults {
	var faults resource.Faults
	s := f.site
	left, which, err := f.subjects(offers)
	if err != nil {
		faults.Add("op", "can never be called: %v", err)
		return faults
	}
	// only keeps the subjects of which something holds: where none is left, the field is
	// at fault.
	only := func(field string, holds func(subject) bool, reason string, args ...any) {
		rest := slices.DeleteFunc(slices.Clone(left), func(s subject) bool { return !holds(s) })
		if len(rest) == 0 {
			faults.Add(field, "no %s %s", which, fmt.Sprintf(reason, args...))
			return
		}
		left = rest
	}
	if len(s.kinds) > 0 {
		only("kind", func(at subject) bool { return meet(at.kinds, s.kinds) }, "is about a resource of kind %s", quoted(s.kinds, " or "))
	}
	if len(s.guests) > 0 {
		only("kind", func(at subject) bool { return meet(at.guests, s.guests) }, "there is about an instance of kind %s", quoted(s.guests, " or "))
	}
	if len(s.names) > 0 {
		only("of", func(at subject) bool { return at.named }, "is about a resource with a name")
	}
	for _, name := range s.names {
		if !slices.ContainsFunc(left, func(at subject) bool { return !at.named || at.admits(name) }) {
			faults.Add("of", "no %s is about a resource with the name or ID %s", which, resource.Quote(name))
		}
	}
	if requiresLabels(s.selector) {
		only("selector", func(at subject) bool { return at.labelled }, "is about a resource with labels")
	}
	if !satisfiable(s.selector) {
		faults.Add("selector", "no labels match %s", s.selector)
	}
	if !f.event && len(s.ops) > 0 && !slices.ContainsFunc(s.ops, func(op Op) bool { return op != OpBoot }) &&
		(s.after || f.action != hangs && f.action != delays) {
		faults.Add("op", "is no call: a boot can hang or be delayed, and nothing else")
	}
	return faults
}

// subjects are those of the site, without what is not offered, and what they are called
// in a sentence. The error says why there are none.
func (f Fault) subjects(offers Features) (all []subject, which string, err error) {
	what, ops, about := f.site.ops, ops, Op.subject
	which = "call"
	if f.event {
		which, ops, about = "event", nil, subjectOfEvents
		for _, reason := range eventReasons {
			ops = append(ops, Op(reason))
		}
	}
	if len(what) == 0 {
		what = ops
	} else {
		which += " of " + f.site.opNames(f.event, " or ")
	}
	for _, op := range what {
		at := about(op)
		if !f.event {
			if at, err = offers.about(op); err != nil {
				continue
			}
		}
		all = append(all, at)
	}
	if len(all) > 0 {
		err = nil
	}
	return all, which, err
}

// about is the operation's subject without the kinds of instance to which it is not
// offered; the error says why it is offered to nothing.
func (f Features) about(op Op) (at subject, err error) {
	at = op.subject()
	if !slices.Contains(at.kinds, resource.KindInstance) {
		return at, f.refuses(op, "")
	}
	var guests []compute.Kind
	for _, kind := range guestKinds {
		if refused := f.refuses(op, kind); refused == nil {
			guests = append(guests, kind)
		} else {
			err = refused
		}
	}
	if len(guests) == 0 {
		return at, err
	}
	if len(at.guests) > 0 {
		at.guests = guests
	}
	return at, nil
}

// meet reports whether two lists have something in common.
func meet[W comparable](some, others []W) bool {
	return slices.ContainsFunc(some, func(w W) bool { return slices.Contains(others, w) })
}

// requiresLabels reports whether a selector matches nothing that has no labels.
func requiresLabels(selector resource.Selector) bool { return !selector.Matches(nil) }

// satisfiable reports whether any labels match a selector: whether each key may be
// absent, have one of the values that are named, or have any other.
func satisfiable(selector resource.Selector) bool {
	byKey := map[string]resource.Selector{}
	for _, r := range selector.Requirements() {
		byKey[r.Key] = resource.Select(append(byKey[r.Key].Requirements(), r)...)
	}
	for key, s := range byKey {
		// Of the values that are not named one is as good as another: this one is no
		// value that a selector can name.
		candidates := []resource.Labels{nil, {key: "\x00"}}
		for _, r := range s.Requirements() {
			for _, value := range r.Values {
				candidates = append(candidates, resource.Labels{key: value})
			}
		}
		if strings.HasPrefix(key, resource.ReservedPrefix) {
			candidates = candidates[:1]
		}
		if !slices.ContainsFunc(candidates, s.Matches) {
			return false
		}
	}
	return true
}
