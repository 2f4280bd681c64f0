package compute

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Native is a value that only one provider understands: its type is the
// provider's, and so is its documentation. It is not portable.
type Native interface {
	// NativeProvider is the scheme of the provider that reads the value.
	NativeProvider() string
	// NativeVersion distinguishes values from each other, and is required: the
	// version is all that is stored of the value, which may be a function. The
	// caller changes it with the value.
	NativeVersion() string
}

// Natives are the native values of a spec. The canonical form records provider
// and version of each.
type Natives []Native

// For returns the value meant for a provider, or nil.
func (n Natives) For(provider string) Native {
	for _, v := range n {
		if v.NativeProvider() == provider {
			return v
		}
	}
	return nil
}

// RecordedNative is what is left of a native value that was read from a stored
// spec.
type RecordedNative struct {
	// Provider is the scheme of the provider that the value was for, and Version
	// the value's.
	Provider string `json:"provider"`
	Version  string `json:"version"`
}

var _ Native = RecordedNative{}

// NativeProvider returns the provider that read the value.
func (r RecordedNative) NativeProvider() string { return r.Provider }

// NativeVersion returns the value's version.
func (r RecordedNative) NativeVersion() string { return r.Version }

// MarshalJSON writes provider and version of each value.
func (n Natives) MarshalJSON() ([]byte, error) {
	out := make([]RecordedNative, len(n))
	for i, v := range n {
		if v == nil {
			return nil, fmt.Errorf("native[%d] is nil", i)
		}
		out[i] = RecordedNative{Provider: v.NativeProvider(), Version: v.NativeVersion()}
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON wrote, as RecordedNative values.
func (n *Natives) UnmarshalJSON(data []byte) error {
	var in []RecordedNative
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		return err
	}
	*n = nil
	for _, v := range in {
		*n = append(*n, v)
	}
	return nil
}
