package resource

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// FieldLevel says what a provider does with a field of a spec.
type FieldLevel int

// The levels. The zero value is Refused, so a field that a later release adds
// is refused by every provider that does not know it, never ignored.
const (
	// FieldRefused fields make Create fail with errors.ErrUnsupported where
	// they are not zero.
	FieldRefused FieldLevel = iota
	// FieldHint fields are taken as a wish: accepted, and named in the gap
	// report where they have no effect.
	FieldHint
	// FieldHonored fields have the effect that their documentation says.
	FieldHonored
)

// String returns "refused", "hint" or "honored".
func (l FieldLevel) String() string {
	switch l {
	case FieldHonored:
		return "honored"
	case FieldHint:
		return "hint"
	}
	return "refused"
}

// FieldRule is what a provider declares for one field.
type FieldRule struct {
	// Level says what the provider does with the field.
	Level FieldLevel `json:"level"`
	// Reason says why a field is refused or only a hint.
	Reason string `json:"reason,omitempty"`
}

// FieldTable declares, per field path, what a provider does with the fields of
// one spec. The paths are those of the JSON form, with [] for the elements of
// a list: "resources.memory", "mounts[].path". A path that is not listed is
// refused. A key ending in ".*" or "[].*" gives the reason for everything
// below it that is not listed, and can only refuse. A key ending in "=" and a
// value, such as "mounts[].type=volume", is the rule of a field of text that has
// this value.
//
// A refusal, the gap report and the tables of the documentation all come from
// this data.
type FieldTable map[string]FieldRule

// Honored adds the fields to the table as honoured and returns it.
func (t FieldTable) Honored(fields ...string) FieldTable {
	for _, f := range fields {
		t[f] = FieldRule{Level: FieldHonored}
	}
	return t
}

// Hint adds the fields to the table as hints and returns it.
func (t FieldTable) Hint(reason string, fields ...string) FieldTable {
	for _, f := range fields {
		t[f] = FieldRule{Level: FieldHint, Reason: reason}
	}
	return t
}

// Refused adds the reason why the fields are refused and returns the table.
func (t FieldTable) Refused(reason string, fields ...string) FieldTable {
	for _, f := range fields {
		t[f] = FieldRule{Level: FieldRefused, Reason: reason}
	}
	return t
}

// Rule returns what the table says of a field, by its pattern. Of a struct that
// is there but empty, such as "health" or "mounts[]", it says the best that it
// says of a field in it.
func (t FieldTable) Rule(pattern string) FieldRule {
	if rule, ok := t[pattern]; ok {
		return rule
	}
	if rule := t.below(pattern); rule != (FieldRule{}) {
		return rule
	}
	for at := pattern; ; {
		dot := strings.LastIndexByte(at, '.')
		if dot < 0 {
			return FieldRule{}
		}
		at = at[:dot]
		if rule, ok := t[at+".*"]; ok {
			return FieldRule{Reason: rule.Reason}
		}
	}
}

// ruleOf returns what the table says of a field that has a value.
func (t FieldTable) ruleOf(pattern string, value reflect.Value) FieldRule {
	if value.Kind() == reflect.String {
		if rule, ok := t[pattern+"="+value.String()]; ok {
			return rule
		}
	}
	return t.Rule(pattern)
}

// below returns the best rule of what is listed below a struct's path.
func (t FieldTable) below(pattern string) FieldRule {
	var best FieldRule
	for _, path := range slices.Sorted(maps.Keys(t)) {
		if !strings.HasPrefix(path, pattern+".") {
			continue
		}
		rule := t[path]
		if strings.HasSuffix(path, ".*") {
			rule.Level = FieldRefused
		}
		if rule.Level > best.Level || rule.Level == best.Level && best.Reason == "" {
			best = rule
		}
	}
	return best
}

// Gap is a field of a spec that a provider does not honour in full.
type Gap struct {
	// Field is the field's path in the spec.
	Field string
	// Level is FieldRefused or FieldHint.
	Level FieldLevel
	// Reason says why; it may be empty.
	Reason string
}

// Gaps reports every field of the spec that is not zero and not honoured, in
// the order of the spec's fields. The spec is a struct or a pointer to one.
func (t FieldTable) Gaps(spec any) []Gap {
	var gaps []Gap
	v := structOf(spec)
	shapeOf(v.Type()).visit(v, "", func(path, pattern string, value reflect.Value) {
		if rule := t.ruleOf(pattern, value); rule.Level != FieldHonored {
			gaps = append(gaps, Gap{Field: path, Level: rule.Level, Reason: rule.Reason})
		}
	})
	return gaps
}

// Refuse is the one function that refuses what a provider does not know: it
// returns an error of the kind errors.ErrUnsupported that names every field of
// the spec that is not zero and neither honoured nor a hint, or nil.
func (t FieldTable) Refuse(spec any) error {
	var first string
	var reasons []string
	for _, gap := range t.Gaps(spec) {
		if gap.Level != FieldRefused {
			continue
		}
		if first == "" {
			first = gap.Field
		}
		reason := gap.Field + " is not supported"
		if gap.Reason != "" {
			reason += ": " + gap.Reason
		}
		reasons = append(reasons, reason)
	}
	if first == "" {
		return nil
	}
	return &Error{
		Kind:  errors.ErrUnsupported,
		Field: first,
		// The first reason begins with the field's path, which Error puts in
		// front of the cause itself.
		Err: errors.New(strings.TrimPrefix(strings.Join(reasons, "; "), first+" ")),
	}
}

// Unknown returns the listed paths that the spec's type does not have: a
// misspelt declaration. Tests of a provider require it to be empty.
func (t FieldTable) Unknown(spec any) []string {
	known := FieldPaths(spec)
	var unknown []string
	for path := range t {
		field, _, _ := strings.Cut(path, "=")
		base := strings.TrimSuffix(path, ".*")
		ok := slices.ContainsFunc(known, func(k string) bool {
			return k == field || base != path && strings.HasPrefix(k, base+".")
		})
		if !ok {
			unknown = append(unknown, path)
		}
	}
	slices.Sort(unknown)
	return unknown
}

// FieldPaths lists the paths of all fields of a spec's type, in their order.
func FieldPaths(spec any) []string {
	return shapeOf(structOf(spec).Type()).patterns(nil)
}

// SetFields lists the paths of the fields of a spec that are not zero.
func SetFields(spec any) []string {
	var paths []string
	v := structOf(spec)
	shapeOf(v.Type()).visit(v, "", func(path, _ string, _ reflect.Value) { paths = append(paths, path) })
	return paths
}

// Diff lists the paths of the fields in which two specs of one type differ. An
// empty list or map equals an absent one.
func Diff[T any](a, b T) []string {
	var paths []string
	va, vb := structOf(a), structOf(b)
	shapeOf(va.Type()).diff(va, vb, "", nil, func(path string) { paths = append(paths, path) })
	return paths
}

// Unmet lists the paths of the fields in which a resource, given by its spec
// with the provider's choices filled in, does not meet what is wanted. A field
// that is zero in want is a choice left to the provider and always met; a map
// is met where it has at least the wanted keys and values; a secret whose text
// have no longer holds cannot be compared and is met.
func Unmet[T any](have, want T) []string {
	var paths []string
	h, w := structOf(have), structOf(want)
	met := func(have, want reflect.Value) bool {
		if s, ok := have.Interface().(Secret); ok && s.Redacted() {
			return true
		}
		switch {
		case want.IsZero():
			return true
		case want.Kind() == reflect.Map:
			for iter := want.MapRange(); iter.Next(); {
				v := have.MapIndex(iter.Key())
				if !v.IsValid() || !reflect.DeepEqual(v.Interface(), iter.Value().Interface()) {
					return false
				}
			}
			return true
		case want.Kind() == reflect.Slice:
			return want.Len() == 0
		}
		return false
	}
	shapeOf(w.Type()).diff(h, w, "", met, func(path string) { paths = append(paths, path) })
	return paths
}

// Overlay returns a copy of have in which the fields that are not zero in want
// are want's. Structs within are taken whole.
func Overlay[T any](have, want T) T {
	out := reflect.ValueOf(&have).Elem()
	w := reflect.ValueOf(want)
	for i := range w.NumField() {
		if !w.Field(i).IsZero() {
			out.Field(i).Set(w.Field(i))
		}
	}
	return have
}

func structOf(spec any) reflect.Value {
	v := reflect.ValueOf(spec)
	for v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	return v
}
