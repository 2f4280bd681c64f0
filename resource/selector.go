package resource

import (
	"fmt"
	"slices"
	"strings"
)

// Operator is how a selector's requirement compares.
type Operator string

// The operators of Kubernetes' label selectors.
const (
	OpEquals       Operator = "="
	OpNotEquals    Operator = "!="
	OpIn           Operator = "in"
	OpNotIn        Operator = "notin"
	OpExists       Operator = "exists"
	OpDoesNotExist Operator = "!"
)

// Requirement is one condition on one label. As in Kubernetes, NotEquals and
// NotIn are also met by a resource that lacks the label.
type Requirement struct {
	// Key is the label that Operator looks at.
	Key      string   `json:"key"`
	Operator Operator `json:"operator"`
	// Values are compared with the label's: exactly one for Equals and
	// NotEquals, one or more for In and NotIn, none for the others.
	Values []string `json:"values,omitempty"`
}

// Selector chooses resources by their labels: all requirements must be met. The
// zero value matches everything.
type Selector struct {
	requirements []Requirement
}

// Select returns a selector of the requirements given.
func Select(requirements ...Requirement) Selector {
	return Selector{Selector{requirements}.Requirements()}
}

// Equals requires the label to have the value.
func Equals(key, value string) Requirement {
	return Requirement{Key: key, Operator: OpEquals, Values: []string{value}}
}

// NotEquals requires the label to be absent or to have another value.
func NotEquals(key, value string) Requirement {
	return Requirement{Key: key, Operator: OpNotEquals, Values: []string{value}}
}

// In requires the label to have one of the values.
func In(key string, values ...string) Requirement {
	return Requirement{Key: key, Operator: OpIn, Values: slices.Clone(values)}
}

// NotIn requires the label to be absent or to have none of the values.
func NotIn(key string, values ...string) Requirement {
	return Requirement{Key: key, Operator: OpNotIn, Values: slices.Clone(values)}
}

// Exists requires the label to be present, whatever its value.
func Exists(key string) Requirement { return Requirement{Key: key, Operator: OpExists} }

// DoesNotExist requires the label to be absent.
func DoesNotExist(key string) Requirement { return Requirement{Key: key, Operator: OpDoesNotExist} }

// Requirements returns a copy of the selector's requirements.
func (s Selector) Requirements() []Requirement {
	out := slices.Clone(s.requirements)
	for i := range out {
		out[i].Values = slices.Clone(out[i].Values)
	}
	return out
}

// IsZero reports whether the selector matches everything.
func (s Selector) IsZero() bool { return len(s.requirements) == 0 }

// Matches reports whether the labels meet every requirement.
func (s Selector) Matches(labels Labels) bool {
	for i := range s.requirements {
		if !s.requirements[i].Matches(labels) {
			return false
		}
	}
	return true
}

// Matches reports whether the labels meet the requirement.
func (r Requirement) Matches(labels Labels) bool {
	value, ok := labels[r.Key]
	switch r.Operator {
	case OpEquals, OpIn:
		return ok && slices.Contains(r.Values, value)
	case OpNotEquals, OpNotIn:
		return !ok || !slices.Contains(r.Values, value)
	case OpExists:
		return ok
	case OpDoesNotExist:
		return !ok
	}
	return false
}

// Validate reports every fault of the selector. Keys under the reserved prefix
// are allowed, and match nothing.
func (s Selector) Validate() Faults {
	var faults Faults
	for i, r := range s.requirements {
		field := fmt.Sprintf("[%d]", i)
		faults.AddReason(field+".key", CheckLabelKey(r.Key))
		count := len(r.Values)
		switch r.Operator {
		case OpEquals, OpNotEquals:
			if count != 1 {
				faults.Add(field+".values", "must be exactly one for %q", r.Operator)
			}
		case OpIn, OpNotIn:
			if count == 0 {
				faults.Add(field+".values", "must not be empty for %q", r.Operator)
			}
		case OpExists, OpDoesNotExist:
			if count != 0 {
				faults.Add(field+".values", "must be empty for %q", r.Operator)
			}
		default:
			faults.Add(field+".operator", "is not known: %s", Quote(string(r.Operator)))
		}
		for j, v := range r.Values {
			faults.AddReason(fmt.Sprintf("%s.values[%d]", field, j), CheckLabelValue(v))
		}
	}
	return faults
}

// String returns the selector in the syntax that [ParseSelector] reads.
func (s Selector) String() string {
	parts := make([]string, len(s.requirements))
	for i, r := range s.requirements {
		parts[i] = r.String()
	}
	return strings.Join(parts, ",")
}

// String returns the requirement in the syntax that [ParseSelector] reads.
func (r Requirement) String() string {
	switch r.Operator {
	case OpExists:
		return r.Key
	case OpDoesNotExist:
		return "!" + r.Key
	case OpIn, OpNotIn:
		return r.Key + " " + string(r.Operator) + " (" + strings.Join(r.Values, ",") + ")"
	}
	return r.Key + string(r.Operator) + strings.Join(r.Values, ",")
}

// MarshalText encodes the selector in its text syntax.
func (s Selector) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText decodes the selector from its text syntax.
func (s *Selector) UnmarshalText(text []byte) error {
	parsed, err := ParseSelector(string(text))
	if err != nil {
		return err
	}
	*s = parsed
	return nil
}

// ParseSelector reads Kubernetes' label selector syntax:
//
//	tier=web, track!=canary, zone in (a,b), env notin (prod), gpu, !legacy
//
// '==' is the same as '='. The empty text is the selector that matches
// everything. The error is Faults with the field "selector".
func ParseSelector(text string) (Selector, error) {
	p := selectorParser{rest: text}
	var out Selector
	for {
		p.space()
		if p.rest == "" {
			if len(out.requirements) > 0 {
				return Selector{}, p.fault("a requirement must follow ','")
			}
			return out, nil
		}
		r, err := p.requirement()
		if err != nil {
			return Selector{}, err
		}
		out.requirements = append(out.requirements, r)
		p.space()
		if p.rest == "" {
			break
		}
		if !p.take(",") {
			return Selector{}, p.fault("',' must follow a requirement")
		}
	}
	if faults := out.Validate(); len(faults) > 0 {
		var at Faults
		at.Under("selector", faults)
		return Selector{}, at
	}
	return out, nil
}

type selectorParser struct{ rest string }

func (p *selectorParser) space() { p.rest = strings.TrimLeft(p.rest, " \t\r\n") }

func (p *selectorParser) take(token string) bool {
	rest, ok := strings.CutPrefix(p.rest, token)
	if ok {
		p.rest = rest
	}
	return ok
}

// word takes what may be a key or a value: everything up to a character of the
// syntax. What it may consist of is checked afterwards, in one place.
func (p *selectorParser) word() string {
	end := strings.IndexAny(p.rest, " \t\r\n,()=!")
	if end < 0 {
		end = len(p.rest)
	}
	word := p.rest[:end]
	p.rest = p.rest[end:]
	return word
}

func (p *selectorParser) fault(reason string) error {
	at := "at the end"
	if p.rest != "" {
		at = "before " + Quote(p.rest)
	}
	return Faults{{Field: "selector", Reason: reason + ", " + at}}
}

func (p *selectorParser) requirement() (Requirement, error) {
	if p.take("!") {
		p.space()
		key := p.word()
		if key == "" {
			return Requirement{}, p.fault("a key must follow '!'")
		}
		return DoesNotExist(key), nil
	}
	key := p.word()
	if key == "" {
		return Requirement{}, p.fault("a key was expected")
	}
	p.space()
	switch {
	case p.take("!="):
		p.space()
		return NotEquals(key, p.word()), nil
	case p.take("=="), p.take("="):
		p.space()
		return Equals(key, p.word()), nil
	case p.rest == "" || p.rest[0] == ',':
		return Exists(key), nil
	}
	op := Operator(p.word())
	if op != OpIn && op != OpNotIn {
		return Requirement{}, p.fault("an operator (=, ==, !=, in, notin) must follow the key")
	}
	values, err := p.values()
	return Requirement{Key: key, Operator: op, Values: values}, err
}

func (p *selectorParser) values() ([]string, error) {
	p.space()
	if !p.take("(") {
		return nil, p.fault("'(' must follow the operator")
	}
	var values []string
	for {
		p.space()
		values = append(values, p.word())
		p.space()
		if p.take(")") {
			return values, nil
		}
		if !p.take(",") {
			return nil, p.fault("',' or ')' must follow a value")
		}
	}
}
