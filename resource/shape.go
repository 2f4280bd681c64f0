package resource

import (
	"bytes"
	"encoding"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"sync"
)

// shape is what is known of a struct type that is described by field paths. It
// is worked out once per type: checking a spec is part of every Create.
type shape struct{ fields []shapeField }

type shapeField struct {
	index   int
	name    string // as in the JSON form
	pattern string // from the outermost struct, with [] for an element
	// inner is the shape of a struct, of what a pointer points to, or of a
	// slice's elements; nil for a leaf.
	inner   *shape
	pointer bool
	slice   bool
}

var shapes sync.Map // of reflect.Type to *shape

func shapeOf(t reflect.Type) *shape {
	if s, ok := shapes.Load(t); ok {
		return s.(*shape)
	}
	s, _ := shapes.LoadOrStore(t, makeShape(t, ""))
	return s.(*shape)
}

func makeShape(t reflect.Type, prefix string) *shape {
	s := &shape{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" {
			continue
		}
		if f.Anonymous && name == "" {
			panic("resource: a spec must not embed structs: " + t.String())
		}
		if name == "" {
			name = f.Name
		}
		sf := shapeField{index: i, name: name, pattern: join(prefix, name)}
		switch ft := f.Type; {
		case isStruct(ft):
			sf.inner = makeShape(ft, sf.pattern)
		case ft.Kind() == reflect.Pointer && isStruct(ft.Elem()):
			sf.pointer = true
			sf.inner = makeShape(ft.Elem(), sf.pattern)
		case ft.Kind() == reflect.Slice && isStruct(ft.Elem()):
			sf.slice = true
			sf.inner = makeShape(ft.Elem(), sf.pattern+"[]")
		}
		s.fields = append(s.fields, sf)
	}
	return s
}

var (
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

// isStruct reports whether t is described field by field; a struct with a form
// of its own, such as a time or an address, is one value.
func isStruct(t reflect.Type) bool {
	if t.Kind() != reflect.Struct || t.Implements(jsonMarshaler) || t.Implements(textMarshaler) {
		return false
	}
	p := reflect.PointerTo(t)
	return !p.Implements(jsonMarshaler) && !p.Implements(textMarshaler)
}

// visit calls f for every leaf that is not zero, with the value's path and the
// pattern of it. What is there although nothing in it is set, behind a pointer
// or in a list, is told as a whole: it is a wish, and must not be overlooked.
// It reports whether it called f.
func (s *shape) visit(v reflect.Value, path string, f func(path, pattern string, v reflect.Value)) bool {
	told := false
	for i := range s.fields {
		sf := &s.fields[i]
		fv := v.Field(sf.index)
		if fv.IsZero() || fv.Kind() == reflect.Slice && fv.Len() == 0 || fv.Kind() == reflect.Map && fv.Len() == 0 {
			continue
		}
		at := join(path, sf.name)
		switch {
		case sf.inner == nil:
			f(at, sf.pattern, fv)
		case sf.pointer:
			if !sf.inner.visit(fv.Elem(), at, f) {
				f(at, sf.pattern, fv)
			}
		case sf.slice:
			for j := range fv.Len() {
				element := at + "[" + strconv.Itoa(j) + "]"
				if !sf.inner.visit(fv.Index(j), element, f) {
					f(element, sf.pattern+"[]", fv.Index(j))
				}
			}
		default:
			if !sf.inner.visit(fv, at, f) {
				continue
			}
		}
		told = true
	}
	return told
}

// diff calls f with the path of every leaf that differs between a and b. A
// slice of structs whose length differs is one leaf. Where same is not nil it
// may call two differing leaves equal.
func (s *shape) diff(a, b reflect.Value, path string, same func(a, b reflect.Value) bool, f func(path string)) {
	for i := range s.fields {
		sf := &s.fields[i]
		fa, fb := a.Field(sf.index), b.Field(sf.index)
		at := join(path, sf.name)
		switch {
		case sf.inner == nil:
			if !sameLeaf(fa, fb) && (same == nil || !same(fa, fb)) {
				f(at)
			}
		case sf.pointer:
			zero := reflect.Zero(fa.Type().Elem())
			pa, pb := pointed(fa, zero), pointed(fb, zero)
			if fa.IsNil() != fb.IsNil() && pa.IsZero() && pb.IsZero() {
				if same == nil || !same(fa, fb) {
					f(at)
				}
				continue
			}
			sf.inner.diff(pa, pb, at, same, f)
		case sf.slice:
			if fa.Len() != fb.Len() {
				if same == nil || !same(fa, fb) {
					f(at)
				}
				continue
			}
			for j := range fa.Len() {
				sf.inner.diff(fa.Index(j), fb.Index(j), at+"["+strconv.Itoa(j)+"]", same, f)
			}
		default:
			sf.inner.diff(fa, fb, at, same, f)
		}
	}
}

func pointed(p, zero reflect.Value) reflect.Value {
	if p.IsNil() {
		return zero
	}
	return p.Elem()
}

func sameLeaf(a, b reflect.Value) bool {
	if k := a.Kind(); (k == reflect.Slice || k == reflect.Map) && a.Len() == 0 && b.Len() == 0 {
		return true
	}
	x, y := a.Interface(), b.Interface()
	if reflect.DeepEqual(x, y) {
		return true
	}
	// Two values of one canonical form are the same, whatever they are made of:
	// a native value and what was recorded of it, for one.
	if m, ok := x.(json.Marshaler); ok {
		p, errP := m.MarshalJSON()
		q, errQ := y.(json.Marshaler).MarshalJSON()
		return errP == nil && errQ == nil && bytes.Equal(p, q)
	}
	return false
}

// patterns appends the patterns of all leaves.
func (s *shape) patterns(out []string) []string {
	for i := range s.fields {
		if inner := s.fields[i].inner; inner != nil {
			out = inner.patterns(out)
		} else {
			out = append(out, s.fields[i].pattern)
		}
	}
	return out
}
