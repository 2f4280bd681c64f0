package fake

import (
	"time"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// bootUp makes the guest of a run ready: at once, later, or never, as latency and
// faults say. The backend is locked.
func (p *Provider) bootUp(r *run) {
	r.ready = false
	if !p.watchful() {
		r.ready = true
		return
	}
	i := r.instance
	at := i.target()
	delay := p.backend.spreadOf(OpBoot, at)
	for _, in := range []*injections{&p.faults, &p.backend.faults} {
		for _, injection := range in.list(false) {
			// A boot is no call: a site that means every operation does not mean it.
			if len(injection.fault.site.ops) == 0 || !injection.strikes(OpBoot, at) {
				continue
			}
			if injection.fault.action != delays {
				return
			}
			delay += injection.fault.delay
		}
	}
	if delay == 0 {
		r.ready = true
		return
	}
	b := p.backend
	r.active().boot = time.AfterFunc(delay, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if !r.over && !r.ending && r.restart == nil && i.run == r {
			r.ready = true
			i.space.emit(i, resource.EventChanged, resource.ReasonReady)
		}
	})
}

// level is the readiness that an instance has reached. The backend is locked.
func (i *instance) level() compute.Level {
	switch {
	case i.state == compute.Creating:
		return compute.LevelNone
	case i.state != compute.Running && i.state != compute.Stopping:
		return compute.LevelCreated
	case !i.run.ready:
		return compute.LevelRunning
	case i.run.healthy():
		return compute.LevelHealthy
	case i.addressed():
		return compute.LevelAddress
	}
	return compute.LevelAgent
}
