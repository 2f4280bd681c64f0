package resource

import (
	"reflect"
	"sync"
)

// Clone returns a deep copy of a spec: its maps, lists and what its pointers
// point to are the copy's own. Values behind interfaces, functions and types
// with hidden fields, such as times and addresses, are copied by assignment.
func Clone[T any](spec T) T {
	v := reflect.ValueOf(&spec).Elem()
	cloneInto(v)
	return spec
}

// cloneInto replaces everything that v shares with what it was copied from.
func cloneInto(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for _, i := range sharing(v.Type()) {
			cloneInto(v.Field(i))
		}
	case reflect.Pointer:
		if !v.IsNil() && ownable(v.Type().Elem()) {
			fresh := reflect.New(v.Type().Elem())
			fresh.Elem().Set(v.Elem())
			cloneInto(fresh.Elem())
			v.Set(fresh)
		}
	case reflect.Slice:
		if !v.IsNil() {
			fresh := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
			reflect.Copy(fresh, v)
			if shares(v.Type().Elem()) {
				for i := range fresh.Len() {
					cloneInto(fresh.Index(i))
				}
			}
			v.Set(fresh)
		}
	case reflect.Array:
		if shares(v.Type().Elem()) {
			for i := range v.Len() {
				cloneInto(v.Index(i))
			}
		}
	case reflect.Map:
		if !v.IsNil() {
			fresh := reflect.MakeMapWithSize(v.Type(), v.Len())
			deep := shares(v.Type().Elem())
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			for iter := v.MapRange(); iter.Next(); {
				key.SetIterKey(iter)
				value.SetIterValue(iter)
				if deep {
					cloneInto(value)
				}
				fresh.SetMapIndex(key, value)
			}
			v.Set(fresh)
		}
	}
}

// sharings are the fields of structs, by type, that may share something with what
// they are copied from: most of a spec's are plain.
var sharings sync.Map // reflect.Type to []int

func sharing(t reflect.Type) []int {
	if known, ok := sharings.Load(t); ok {
		return known.([]int)
	}
	var fields []int
	for i := range t.NumField() {
		if f := t.Field(i); f.IsExported() && shares(f.Type) {
			fields = append(fields, i)
		}
	}
	sharings.Store(t, fields)
	return fields
}

// shares reports whether a copy of a value of a type may share something with it.
func shares(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return true
	case reflect.Array:
		return shares(t.Elem())
	case reflect.Struct:
		return len(sharing(t)) > 0
	}
	return false
}

// ownable reports whether a value of type t can be copied by assignment: a
// struct with hidden fields may hold a lock.
func ownable(t reflect.Type) bool {
	if t.Kind() != reflect.Struct {
		return true
	}
	for i := range t.NumField() {
		if !t.Field(i).IsExported() {
			return false
		}
	}
	return true
}
