package resource

import (
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
)

// Fault is one thing that is wrong with a value that the caller passed.
type Fault struct {
	// Field is the path of the field at fault, in the names of its JSON form:
	// "resources.memory", "mounts[2].path", "labels[tier]".
	Field string
	// Reason says what is wrong with it.
	Reason string
}

// String returns "field: reason", or the reason alone where it is the whole
// value that is at fault.
func (f Fault) String() string {
	if f.Field == "" {
		return f.Reason
	}
	return f.Field + ": " + f.Reason
}

// Faults is everything that is wrong with a value. As an error its kind is
// InvalidArgument.
type Faults []Fault

// Error lists the faults, separated by semicolons.
func (f Faults) Error() string {
	parts := make([]string, len(f))
	for i, fault := range f {
		parts[i] = fault.String()
	}
	return strings.Join(parts, "; ")
}

// Is makes the faults an InvalidArgument to errors.Is.
func (f Faults) Is(target error) bool { return target == errdefs.ErrInvalidArgument }

// Add appends a fault with a formatted reason.
func (f *Faults) Add(field, format string, args ...any) {
	*f = append(*f, Fault{Field: field, Reason: fmt.Sprintf(format, args...)})
}

// AddReason appends a fault, unless the reason is empty: the form that the
// Check functions of this module return.
func (f *Faults) AddReason(field, reason string) {
	if reason != "" {
		*f = append(*f, Fault{Field: field, Reason: reason})
	}
}

// Under appends the faults of a part of the value, with their paths put behind
// the part's.
func (f *Faults) Under(field string, part Faults) {
	for _, fault := range part {
		*f = append(*f, Fault{Field: join(field, fault.Field), Reason: fault.Reason})
	}
}

// Err returns the faults as an error, or nil where there are none.
func (f Faults) Err() error {
	if len(f) == 0 {
		return nil
	}
	return f
}

// FaultsOf returns the faults that err carries, or nil.
func FaultsOf(err error) Faults {
	var faults Faults
	if errors.As(err, &faults) {
		return faults
	}
	return nil
}

// MapField returns the path of the value that a map holds under a key:
// field[key]. The key is quoted where it is not plain text, so that a hostile
// one can neither disturb a message nor look like another path.
func MapField(field, key string) string {
	return field + "[" + plain(key) + "]"
}

// join puts a field's path behind that of what holds it.
func join(outer, inner string) string {
	switch {
	case outer == "":
		return inner
	case inner == "":
		return outer
	case inner[0] == '[':
		return outer + inner
	}
	return outer + "." + inner
}
