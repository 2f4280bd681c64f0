package fake

import (
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

var (
	networkFeatures resource.Features
	networkFields   resource.FieldTable
)

// segment is the record of a network.
type segment struct {
	object
}

var _ stored = (*segment)(nil)

func (p *Provider) networksAccessor() network.Networks { return network.Absent("not yet") }

// removeSegment takes a network away, or says why it cannot. The backend is
// locked.
func (s *space) removeSegment(n *segment) error { return nil }

// dump writes what Dump says of a network, on one line or several.
func (n *segment) dump(d *dumper) {}
