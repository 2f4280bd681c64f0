package resource

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

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
// or with anything behind it is InvalidArgument; one of another version is
// FailedPrecondition, so that a newer release's record is never rewritten.
func UnmarshalSpec(data []byte, kind Kind, into any) error {
	fail := func(sentinel error, field string, err error) error {
		return &Error{Op: "decode", Ref: Ref{Kind: kind}, Kind: sentinel, Field: field, Err: err}
	}
	var doc document
	// The envelope is read leniently first: a newer version may have more of it.
	if err := json.Unmarshal(data, &doc); err != nil {
		return fail(errdefs.ErrInvalidArgument, "", err)
	}
	if doc.APIVersion != APIVersion {
		return fail(errdefs.ErrFailedPrecondition, "apiVersion",
			errors.New("is "+Quote(doc.APIVersion)+"; this release reads "+APIVersion))
	}
	if err := unmarshalStrict(data, &doc); err != nil {
		return fail(errdefs.ErrInvalidArgument, "", err)
	}
	if doc.Kind != kind {
		return fail(errdefs.ErrInvalidArgument, "kind", errors.New("is "+Quote(string(doc.Kind))))
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
