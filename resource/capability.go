package resource

import (
	"maps"
	"slices"
)

// Feature names a capability, or a part of one: "pause", "exec.tty",
// "network.address.stable". The names are constants of the packages that
// define the capabilities.
type Feature string

// Support says whether a provider offers a feature. The zero value says that
// it does not.
type Support struct {
	// Supported is true where the feature works.
	Supported bool `json:"supported"`
	// Reason says why it is absent, or under which condition it is there.
	Reason string `json:"reason,omitempty"`
	// Limits are bounds that a caller should know, such as
	// "exec.output": "10MiB".
	Limits map[string]string `json:"limits,omitempty"`
}

// Features declares what a provider offers for one kind of resource. What is
// not listed is not supported. The conformance suite proves that the
// declaration equals the behaviour, both ways.
type Features map[Feature]Support

// Has reports whether the feature is supported.
func (f Features) Has(feature Feature) bool { return f[feature].Supported }

// Names returns the supported features, sorted.
func (f Features) Names() []Feature {
	var names []Feature
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if f[name].Supported {
			names = append(names, name)
		}
	}
	return names
}

// Check returns nil where the feature is supported, else an error of the kind
// errors.ErrUnsupported with the declared reason.
func (f Features) Check(feature Feature) error {
	if f.Has(feature) {
		return nil
	}
	return Unsupported(string(feature), f[feature].Reason)
}
