package resource

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"slices"
	"unicode/utf8"

	"github.com/containerd/errdefs"
)

// APIVersion is the version of the documents that this release writes.
const APIVersion = "univirt.io/v1alpha1"

// document is the envelope of a spec's canonical form.
type document struct {
	APIVersion string          `json:"apiVersion"`
	Kind       Kind            `json:"kind"`
	Spec       json.RawMessage `json:"spec"`
}

// MarshalSpec writes the canonical form of a spec: a JSON document that says
// its version and kind. Equal specs give equal bytes. Secrets are written as a
// placeholder.
func MarshalSpec(kind Kind, spec any) ([]byte, error) {
	raw, err := marshalCanonical(spec)
	if err != nil {
		return nil, &Error{Op: "encode", Ref: Ref{Kind: kind}, Kind: errdefs.ErrInvalidArgument, Err: err}
	}
	return marshalCanonical(document{APIVersion: APIVersion, Kind: kind, Spec: raw})
}

func marshalCanonical(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// UnmarshalSpec reads what [MarshalSpec] wrote into the spec that into points
// to. A document of another kind, with fields that this release does not know,
// with a key twice, or with anything behind it is InvalidArgument; one of
// another version is FailedPrecondition, so that a newer release's record is
// never rewritten. After an error what into points to means nothing.
func UnmarshalSpec(data []byte, kind Kind, into any) error {
	if spec, ok := canonicalSpec(data, kind); ok {
		if unmarshalStrict(spec, into) == nil && checkText(spec, into) == nil {
			return nil
		}
		// Whatever is wrong is found below, and told.
		reflect.ValueOf(into).Elem().SetZero()
	}
	fail := func(sentinel error, field string, err error) error {
		return &Error{Op: "decode", Ref: Ref{Kind: kind}, Kind: sentinel, Field: field, Err: err}
	}
	var doc document
	err := unmarshalStrict(data, &doc)
	if err != nil {
		// A newer version may have more in its envelope.
		lenient := json.Unmarshal(data, &doc)
		if lenient != nil {
			return fail(errdefs.ErrInvalidArgument, "", lenient)
		}
	}
	if doc.APIVersion != APIVersion {
		return fail(errdefs.ErrFailedPrecondition, "apiVersion",
			errors.New("is "+Quote(doc.APIVersion)+"; this release reads "+APIVersion))
	}
	if err == nil {
		err = checkText(data, &doc)
	}
	if err != nil {
		return fail(errdefs.ErrInvalidArgument, "", err)
	}
	if doc.Kind != kind {
		return fail(errdefs.ErrInvalidArgument, "kind", errors.New("is "+Quote(string(doc.Kind))))
	}
	if len(doc.Spec) == 0 || bytes.Equal(doc.Spec, []byte("null")) {
		return fail(errdefs.ErrInvalidArgument, "spec", errors.New("is required"))
	}
	err = unmarshalStrict(doc.Spec, into)
	if err == nil {
		err = checkText(doc.Spec, into)
	}
	if err != nil {
		return fail(errdefs.ErrInvalidArgument, "spec", err)
	}
	return nil
}

// canonicalSpec cuts the spec out of a document whose envelope is as this release
// writes it, as that of nearly all is. It is not known to be JSON.
func canonicalSpec(data []byte, kind Kind) ([]byte, bool) {
	for _, part := range []string{`{"apiVersion":"` + APIVersion + `","kind":"`, string(kind), `","spec":`} {
		if len(data) < len(part) || string(data[:len(part)]) != part {
			return nil, false
		}
		data = data[len(part):]
	}
	spec, ok := bytes.CutSuffix(data, []byte("}"))
	return spec, ok && len(spec) > 0 && spec[0] == '{'
}

func unmarshalStrict(data []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("text behind the document")
	}
	return nil
}

// checkText refuses what readers of JSON take in different ways, so that nobody
// can show one document to two programs and have it mean two things: a key that
// an object has twice, one that is a field's name but for the case of letters, and
// text that is not UTF-8. The document was decoded into what into points to, so
// that looking at its strings and brackets is enough.
func checkText(data []byte, into any) error {
	if !utf8.Valid(data) {
		return errors.New("the document is not valid UTF-8")
	}
	// Of each object and array that is open, the keys so far are those from there on.
	var open []int
	var keys [][]byte
	names, odd := namesOf(reflect.TypeOf(into)), false
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '{', '[':
			open = append(open, len(keys))
		case '}', ']':
			last := len(open) - 1
			if err := checkKeys(keys[open[last]:]); err != nil {
				return err
			}
			keys, open = keys[:open[last]], open[:last]
		case '"':
			start := i
			for i++; data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
			// In JSON a string before a colon is a key, and no other is.
			if !isKey(data[i+1:]) {
				continue
			}
			key := data[start+1 : i]
			if bytes.IndexByte(key, '\\') >= 0 {
				var text string
				if err := json.Unmarshal(data[start:i+1], &text); err != nil {
					return err
				}
				key = []byte(text)
			}
			keys = append(keys, key)
			odd = odd || names.nearly(key)
		}
	}
	if odd {
		return checkNames(data, reflect.TypeOf(into))
	}
	return nil
}

// isKey reports whether what follows a string makes it a key.
func isKey(rest []byte) bool {
	for _, c := range rest {
		switch c {
		case ' ', '\t', '\r', '\n':
		default:
			return c == ':'
		}
	}
	return false
}

// checkKeys finds a key that an object has twice. It changes their order.
func checkKeys(keys [][]byte) error {
	slices.SortFunc(keys, bytes.Compare)
	for i := 1; i < len(keys); i++ {
		if bytes.Equal(keys[i-1], keys[i]) {
			return errors.New("the key " + Quote(string(keys[i])) + " is there twice")
		}
	}
	return nil
}
