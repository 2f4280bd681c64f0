package resource

import (
	"encoding"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"sync"
)

// Encoding/json takes a key for a field's name whatever the case of its letters,
// and other readers of JSON do not. So a key that is nearly a field's name is
// looked at a second time, where it stands: as the key of a label it is fine.

// fieldNames are the names that the fields of a type have in JSON, with those of
// all types below it, as they are and with small letters only.
type fieldNames struct{ exact, folded map[string]bool }

var fieldNamesOf sync.Map // reflect.Type to *fieldNames

func namesOf(t reflect.Type) *fieldNames {
	if names, ok := fieldNamesOf.Load(t); ok {
		return names.(*fieldNames)
	}
	names := &fieldNames{exact: make(map[string]bool), folded: make(map[string]bool)}
	names.add(t, make(map[reflect.Type]bool))
	fieldNamesOf.Store(t, names)
	return names
}

func (n *fieldNames) add(t reflect.Type, seen map[reflect.Type]bool) {
	if seen[t] {
		return
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		n.add(t.Elem(), seen)
	case reflect.Struct:
		for name, field := range jsonFields(t) {
			n.exact[name], n.folded[strings.ToLower(name)] = true, true
			n.add(field, seen)
		}
	}
}

// nearly reports whether a key is a field's name but for the case of letters.
func (n *fieldNames) nearly(key []byte) bool {
	return !n.exact[string(key)] && n.folded[strings.ToLower(string(key))]
}

// jsonFields are the types of a struct's fields by their names in JSON.
func jsonFields(t reflect.Type) map[string]reflect.Type {
	fields := make(map[string]reflect.Type)
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.IsExported() && !f.Anonymous && name != "-" {
			if name == "" {
				name = f.Name
			}
			fields[name] = f.Type
		}
	}
	return fields
}

// checkNames finds a key that is no field's exact name where a field's name must
// stand. The document is known to be JSON of the type.
func checkNames(data []byte, t reflect.Type) error {
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	return exactNames(v, t)
}

func exactNames(v any, t reflect.Type) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if to := reflect.PointerTo(t); to.Implements(reflect.TypeFor[json.Unmarshaler]()) || to.Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return nil
	}
	switch v := v.(type) {
	case []any:
		if t.Kind() != reflect.Slice && t.Kind() != reflect.Array {
			return nil
		}
		for _, element := range v {
			if err := exactNames(element, t.Elem()); err != nil {
				return err
			}
		}
	case map[string]any:
		var fields map[string]reflect.Type
		switch t.Kind() {
		case reflect.Struct:
			fields = jsonFields(t)
		case reflect.Map:
		default:
			return nil
		}
		for key, element := range v {
			of, ok := fields[key]
			switch {
			case fields == nil:
				of = t.Elem()
			case !ok:
				return errors.New("unknown field " + Quote(key))
			}
			if err := exactNames(element, of); err != nil {
				return err
			}
		}
	}
	return nil
}
