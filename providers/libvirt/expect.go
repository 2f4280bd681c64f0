//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// Libvirt tells when a guest's agent comes, but not when the guest has got its
// address. So where somebody has asked for an instance that has none yet, that is
// looked after for a while, and told to those who watch: when libvirt writes a lease
// down on this host, and now and then, more often where an address is awaited that is
// not leased, or on another host.

const (
	soonest  = 100 * time.Millisecond
	latest   = 2 * time.Second
	expected = 10 * time.Minute
)

// expectations are the instances that are looked after.
type expectations struct {
	mu  sync.Mutex
	ids map[string]struct{}
}

// begin reports whether nobody looks after an instance yet.
func (e *expectations) begin(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, known := e.ids[id]; known {
		return false
	}
	if e.ids == nil {
		e.ids = make(map[string]struct{})
	}
	e.ids[id] = struct{}{}
	return true
}

func (e *expectations) end(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.ids, id)
}

// expectAddress looks after an instance until its guest has its addresses, or the run
// is over.
func (p *Provider) expectAddress(id string) {
	if !p.expectations.begin(id) {
		return
	}
	p.detached.Go(func() {
		defer p.expectations.end(id)
		ctx, cancel := context.WithTimeout(p.alive, expected)
		defer cancel()
		leased, stop := p.leases.await(p.here(leaseFolder))
		defer stop()
		told := leased != nil && p.opts.local()
		for pause := soonest; ; pause = min(pause*5/4, latest) {
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
			case <-leased:
				timer.Stop()
				pause = soonest
			case <-ctx.Done():
				timer.Stop()
				return
			}
			d, err := p.read(ctx, id)
			if isNotFound(err) || err == nil && d.state != compute.Running {
				return
			}
			if err != nil {
				continue // the hypervisor may come back
			}
			all, waiting, err := p.endpointsNow(ctx, d)
			if err == nil && waiting == 0 {
				p.feed.tell(happening{id: id, reason: resource.ReasonReady, at: time.Now().UTC()})
				return
			}
			if err == nil && told && !slices.ContainsFunc(all, silent) {
				// A guest is not held up by questions to which the answer is told.
				pause = latest
			}
		}
	})
}
