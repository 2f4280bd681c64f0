package libvirt

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strings"
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

// readKept reads the description of a snapshot, which anybody may have written, as far
// as the domain that is kept with it, which is long.
func readKept(text string) (kept, bool) {
	var k kept
	var description string
	var parent libvirtxml.DomainSnapshotParent
	wanted := map[string]any{"name": &k.name, "description": &description, "state": &k.state, "parent": &parent}
	decoder := xml.NewDecoder(strings.NewReader(text))
	t, err := nextElement(decoder)
	if err != nil || t.Name.Local != "domainsnapshot" {
		return kept{}, false
	}
	for {
		t, err := nextElement(decoder)
		if errors.Is(err, io.EOF) || err == nil && t.Name.Local == "domain" {
			break
		}
		if err == nil && wanted[t.Name.Local] != nil {
			err = decoder.DecodeElement(wanted[t.Name.Local], &t)
		} else if err == nil {
			err = decoder.Skip()
		}
		if err != nil {
			return kept{}, false
		}
	}
	k.parent = parent.Name
	if err := json.Unmarshal([]byte(description), &k.keptState); err != nil || !resource.IsID(k.ID) || resource.CheckName(k.name) != "" {
		return kept{}, false
	}
	return k, true
}

// nextElement returns the next element; io.EOF at the end of the one that it is in.
func nextElement(decoder *xml.Decoder) (xml.StartElement, error) {
	for {
		token, err := decoder.Token()
		if err != nil {
			return xml.StartElement{}, err
		}
		switch t := token.(type) {
		case xml.StartElement:
			return t, nil
		case xml.EndElement:
			return xml.StartElement{}, io.EOF
		}
	}
}
