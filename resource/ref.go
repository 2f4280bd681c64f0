package resource

import "strings"

// Kind names a kind of resource.
type Kind string

// The kinds of resource that the core packages define, and that a watch tells of. A
// provider may use further kinds in reports; readers ignore the ones they do not know.
const (
	KindInstance Kind = "instance"
	KindImage    Kind = "image"
	KindVolume   Kind = "volume"
	KindNetwork  Kind = "network"
	KindEndpoint Kind = "endpoint"
	KindSnapshot Kind = "snapshot"
)

// Kinds returns them.
func Kinds() []Kind {
	return []Kind{KindInstance, KindImage, KindVolume, KindNetwork, KindEndpoint, KindSnapshot}
}

// Ref says which resource is meant, across processes and programs. It is
// comparable, so it can be a map key, and survives JSON unchanged.
//
// A Ref with an ID means that one resource and never a later one of the same
// name. The other fields may be empty where they are not known.
type Ref struct {
	// Provider is the scheme of the provider that holds the resource.
	Provider string `json:"provider,omitempty"`
	// Kind is the kind of resource.
	Kind Kind `json:"kind,omitempty"`
	// Namespace is the provider's namespace that the resource lives in.
	Namespace string `json:"namespace,omitempty"`
	// Name is the name its creator chose, unique per namespace and kind.
	Name string `json:"name,omitempty"`
	// ID is the identity that is never used again.
	ID string `json:"id,omitempty"`
}

// IsZero reports whether r names nothing at all.
func (r Ref) IsZero() bool { return r == Ref{} }

// Label is the short form used in messages: the kind and the quoted name, or
// the ID where no name is known.
func (r Ref) Label() string {
	what := r.Name
	if what == "" {
		what = r.ID
	}
	switch {
	case what == "" && r.Kind == "":
		return ""
	case what == "":
		return string(r.Kind)
	case r.Kind == "":
		return Quote(what)
	}
	return string(r.Kind) + " " + Quote(what)
}

// String is the full form, for logs: provider:namespace/kind/name (id). Parts
// that are not known are left out, and parts that are not plain text quoted.
func (r Ref) String() string {
	var b strings.Builder
	if r.Provider != "" {
		b.WriteString(plain(r.Provider))
		b.WriteByte(':')
	}
	sep := ""
	for _, part := range []string{r.Namespace, string(r.Kind), r.Name} {
		if part != "" {
			b.WriteString(sep)
			b.WriteString(plain(part))
			sep = "/"
		}
	}
	switch {
	case r.ID == "":
	case b.Len() == 0:
		b.WriteString(plain(r.ID))
	default:
		b.WriteString(" (" + plain(r.ID) + ")")
	}
	return b.String()
}
