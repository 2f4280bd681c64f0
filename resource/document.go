package resource

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
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
		err = checkText(data)
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
	if err := unmarshalStrict(doc.Spec, into); err != nil {
		return fail(errdefs.ErrInvalidArgument, "spec", err)
	}
	return nil
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
// an object has twice, and text that is not UTF-8. The document is known to be
// JSON, so that looking at its strings and brackets is enough.
func checkText(data []byte) error {
	if !utf8.Valid(data) {
		return errors.New("the document is not valid UTF-8")
	}
	var objects []map[string]bool
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '{', '[':
			objects = append(objects, nil)
		case '}', ']':
			objects = objects[:len(objects)-1]
		case '"':
			start := i
			for i++; data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
			text := data[start : i+1]
			// In JSON a string before a colon is a key, and no other is.
			if rest := bytes.TrimLeft(data[i+1:], " \t\r\n"); len(rest) == 0 || rest[0] != ':' {
				continue
			}
			key := string(text[1 : len(text)-1])
			if strings.ContainsRune(key, '\\') {
				if err := json.Unmarshal(text, &key); err != nil {
					return err
				}
			}
			in := &objects[len(objects)-1]
			if (*in)[key] {
				return errors.New("the key " + Quote(key) + " is there twice")
			}
			if *in == nil {
				*in = map[string]bool{}
			}
			(*in)[key] = true
		}
	}
	return nil
}
