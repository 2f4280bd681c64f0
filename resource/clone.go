package resource

import "reflect"

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
		t := v.Type()
		for i := range v.NumField() {
			if t.Field(i).IsExported() && shares(t.Field(i).Type.Kind()) {
				cloneInto(v.Field(i))
			}
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
			if shares(v.Type().Elem().Kind()) {
				for i := range fresh.Len() {
					cloneInto(fresh.Index(i))
				}
			}
			v.Set(fresh)
		}
	case reflect.Array:
		if shares(v.Type().Elem().Kind()) {
			for i := range v.Len() {
				cloneInto(v.Index(i))
			}
		}
	case reflect.Map:
		if !v.IsNil() {
			fresh := reflect.MakeMapWithSize(v.Type(), v.Len())
			deep := shares(v.Type().Elem().Kind())
			for iter := v.MapRange(); iter.Next(); {
				value := iter.Value()
				if deep {
					own := reflect.New(v.Type().Elem()).Elem()
					own.Set(value)
					cloneInto(own)
					value = own
				}
				fresh.SetMapIndex(iter.Key(), value)
			}
			v.Set(fresh)
		}
	}
}

func shares(k reflect.Kind) bool {
	switch k {
	case reflect.Struct, reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return true
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
