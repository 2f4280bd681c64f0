package compute

import "github.com/univirt/univirt/resource"

// Clone returns a deep copy of the spec. Native values are shared.
func (s Spec) Clone() Spec { return resource.Clone(s) }

// Encode writes the canonical form of the spec: versioned JSON, equal bytes for
// equal specs. Secrets are written as a placeholder, and of a native value its
// provider and version.
func Encode(spec Spec) ([]byte, error) { return resource.MarshalSpec(resource.KindInstance, spec) }

// Decode reads the canonical form of a spec. It does not validate the spec.
func Decode(data []byte) (Spec, error) {
	var spec Spec
	err := resource.UnmarshalSpec(data, resource.KindInstance, &spec)
	return spec, err
}
