package fake

import (
	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/resource"
)

// Interrupt has the watches of this value that are under way miss what happens, as where
// the connection to a daemon is lost and comes back: each yields a Gap, whose error is
// Unavailable with the reason, and then what is there. What waited for a slow reader is
// missed too. Calls go on: Fail has them fail meanwhile.
func (p *Provider) Interrupt(reason string) {
	b := p.backend
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range p.space.hub.watches {
		if w.p == p {
			w.miss(resource.Errorf(errdefs.ErrUnavailable, "%s", reason))
		}
	}
}
