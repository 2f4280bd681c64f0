package resource

import (
	"fmt"
	"time"
)

// Owner says who made a resource, so that any process can tell what is alive
// and what was left behind.
type Owner struct {
	// Name is the program, as it named itself at Open; empty where it did not.
	Name string `json:"name,omitempty"`
	// Generation identifies one Open of a provider. Its provider can tell whether that
	// value is still open, for as long as it needs to know: by a lock that dies with the
	// process, say.
	Generation string `json:"generation,omitempty"`
}

// Lifetime says how long a resource is meant to live. The zero value is
// Persistent: until it is deleted.
type Lifetime struct {
	// Ephemeral resources go when the generation that made them is dead: at
	// the provider's Close, or by the next Sweep.
	Ephemeral bool `json:"ephemeral,omitempty"`
	// Until, if not zero, is when Sweep may delete the resource.
	Until time.Time `json:"until,omitzero"`
}

// Persistent is the lifetime of what stays until it is deleted; Ephemeral that
// of what goes with its creator.
var (
	Persistent = Lifetime{}
	Ephemeral  = Lifetime{Ephemeral: true}
)

// Until is the lifetime of what may be swept after t.
func Until(t time.Time) Lifetime { return Lifetime{Until: t} }

// Validate reports a lifetime that is both ephemeral and timed, and a time that
// cannot be written down.
func (l Lifetime) Validate() Faults {
	var faults Faults
	if _, err := l.Until.MarshalText(); err != nil {
		faults.Add("until", "must be a time that RFC 3339 can express")
	}
	if l.Ephemeral && !l.Until.IsZero() {
		faults.Add("until", "must not be set together with ephemeral")
	}
	return faults
}

// Expired reports whether a sweep at time now may take the resource, given
// whether the generation that made it is still alive.
func (l Lifetime) Expired(now time.Time, ownerAlive bool) bool {
	return l.Ephemeral && !ownerAlive || !l.Until.IsZero() && now.After(l.Until)
}

// String returns "persistent", "ephemeral" or "until TIME".
func (l Lifetime) String() string {
	switch {
	case l.Ephemeral:
		return "ephemeral"
	case !l.Until.IsZero():
		return fmt.Sprintf("until %s", l.Until.Format(time.RFC3339))
	}
	return "persistent"
}
