package compute

import (
	"github.com/univirt/univirt/resource"
)

// Placement chooses among hosts.
type Placement struct {
	// Zone is a failure domain.
	Zone string `json:"zone,omitempty"`
	// Hosts selects hosts by their labels.
	Hosts resource.Selector `json:"hosts,omitzero"`
	// Near and Apart select instances to be placed on the same host with, or on
	// another than.
	Near  resource.Selector `json:"near,omitzero"`
	Apart resource.Selector `json:"apart,omitzero"`
	// Required makes Create fail with ResourceExhausted where the wishes cannot
	// be met; otherwise they are hints.
	Required bool `json:"required,omitempty"`
}
