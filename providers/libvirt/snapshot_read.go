package libvirt

import (
	"encoding/json"
	"time"

	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// keptState is what a snapshot's description says, which is free text to libvirt.
type keptState struct {
	ID      string          `json:"univirtSnapshot"`
	Memory  bool            `json:"memory,omitempty"`
	Labels  resource.Labels `json:"labels,omitempty"`
	Created time.Time       `json:"created"`
	// Resources are those of the run whose memory is kept.
	Resources compute.Resources `json:"resources,omitzero"`
	// Idle is how many of its processors its guest did not use.
	Idle int `json:"idle,omitempty"`
}

// kept is a snapshot of ours.
type kept struct {
	keptState
	name, parent string
	// state is what the machine was, in libvirt's words.
	state string
}

// readKept reads the description of a snapshot, which anybody may have written.
func readKept(text string) (kept, bool) {
	var s libvirtxml.DomainSnapshot
	if err := s.Unmarshal(text); err != nil {
		return kept{}, false
	}
	k := kept{name: s.Name, state: s.State}
	if err := json.Unmarshal([]byte(s.Description), &k.keptState); err != nil || !resource.IsID(k.ID) || resource.CheckName(k.name) != "" {
		return kept{}, false
	}
	if s.Parent != nil {
		k.parent = s.Parent.Name
	}
	return k, true
}
