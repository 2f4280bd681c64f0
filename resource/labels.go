package resource

import (
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Labels are keys with values by which resources are selected. Their grammar is
// that of Kubernetes (https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/):
// a key is an optional prefix, a DNS name of at most 253 bytes and a slash, and
// a name of at most 63 bytes; a value has at most 63 bytes and may be empty.
// Names and values consist of letters, digits, '-', '_' and '.', and begin and
// end with a letter or a digit. Free text belongs into [Annotations].
type Labels map[string]string

// Annotations are keys with free text as values. Their keys have the grammar of
// label keys; together they hold at most [MaxAnnotationBytes].
type Annotations map[string]string

// LabelPatch changes labels: a key with a value is set, a key with nil removed,
// and every other one left alone.
type LabelPatch map[string]*string

const (
	// ReservedPrefix is the key prefix that belongs to this module. Callers may
	// not set such keys.
	ReservedPrefix = "univirt.io/"
	// MaxAnnotationBytes bounds the keys and values of one resource's
	// annotations, as Kubernetes does.
	MaxAnnotationBytes = 256 << 10
)

// Validate reports every fault of the labels, in the order of their keys.
func (l Labels) Validate() Faults {
	var faults Faults
	for _, key := range sortedKeys(l) {
		field := MapField("", key)
		faults.AddReason(field, checkOwnKey(key))
		faults.AddReason(field, CheckLabelValue(l[key]))
	}
	return faults
}

// Validate reports every fault of the annotations, in the order of their keys.
func (a Annotations) Validate() Faults {
	var faults Faults
	total := 0
	for _, key := range sortedKeys(a) {
		total += len(key) + len(a[key])
		faults.AddReason(MapField("", key), checkOwnKey(key))
		faults.AddReason(MapField("", key), checkFreeText(a[key]))
	}
	if total > MaxAnnotationBytes {
		faults.Add("", "must have at most %d bytes together, have %d", MaxAnnotationBytes, total)
	}
	return faults
}

// Validate reports every fault of the patch, in the order of its keys.
func (p LabelPatch) Validate() Faults {
	var faults Faults
	for _, key := range sortedKeys(p) {
		field := MapField("", key)
		faults.AddReason(field, checkOwnKey(key))
		if value := p[key]; value != nil {
			faults.AddReason(field, CheckLabelValue(*value))
		}
	}
	return faults
}

// ValidateKeys reports every fault of a patch of annotations, whose values are
// free text.
func (p LabelPatch) ValidateKeys() Faults {
	var faults Faults
	for _, key := range sortedKeys(p) {
		field := MapField("", key)
		faults.AddReason(field, checkOwnKey(key))
		if value := p[key]; value != nil {
			faults.AddReason(field, checkFreeText(*value))
		}
	}
	return faults
}

// PatchTo returns the patch that gives from the values of to, and leaves alone
// what only from has; nil where there is nothing to change.
func PatchTo(from, to Labels) LabelPatch {
	var patch LabelPatch
	for key, value := range to {
		if have, ok := from[key]; !ok || have != value {
			if patch == nil {
				patch = LabelPatch{}
			}
			patch[key] = &value
		}
	}
	return patch
}

// Apply returns a copy of l with the patch applied.
func (p LabelPatch) Apply(l Labels) Labels {
	out := make(Labels, len(l)+len(p))
	maps.Copy(out, l)
	for key, value := range p {
		if value == nil {
			delete(out, key)
		} else {
			out[key] = *value
		}
	}
	return out
}

// checkFreeText refuses what the canonical form of a spec cannot hold unchanged.
func checkFreeText(text string) string {
	switch {
	case strings.ContainsRune(text, 0):
		return "must not contain NUL"
	case !utf8.ValidString(text):
		return "must be valid UTF-8"
	}
	return ""
}

func checkOwnKey(key string) string {
	if reason := CheckLabelKey(key); reason != "" {
		return reason
	}
	if strings.HasPrefix(key, ReservedPrefix) {
		return "the prefix " + ReservedPrefix + " is reserved"
	}
	return ""
}

// CheckLabelKey says what is wrong with a key, or returns "".
func CheckLabelKey(key string) string {
	prefix, name, found := strings.Cut(key, "/")
	if !found {
		return checkQualified(key, "key")
	}
	if prefix == "" || len(prefix) > 253 {
		return "the key's prefix must have 1 to 253 bytes"
	}
	for part := range strings.SplitSeq(prefix, ".") {
		if checkLabel(part) != "" {
			return "the key's prefix must be a DNS name in lower case"
		}
	}
	return checkQualified(name, "key's name")
}

// CheckLabelValue says what is wrong with a label's value, or returns "".
func CheckLabelValue(value string) string {
	if value == "" {
		return ""
	}
	return checkQualified(value, "value")
}

func checkQualified(s, what string) string {
	if s == "" || len(s) > 63 {
		return "the " + what + " must have 1 to 63 bytes"
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '-' || c == '_' || c == '.':
			if i == 0 || i == len(s)-1 {
				return "the " + what + " must begin and end with a letter or a digit"
			}
		default:
			return "the " + what + " must consist of letters, digits, '-', '_' and '.'"
		}
	}
	return ""
}

// sortedKeys are the keys of a map in their order. Those of none cost nothing.
func sortedKeys[M ~map[string]V, V any](m M) []string {
	if len(m) == 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(m))
}
