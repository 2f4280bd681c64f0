//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"fmt"
	"sync"

	lv "libvirt.org/go/libvirt"
)

// tidings are events of domains that one operation waits for: that a copy is alike,
// that the guest has let go of a device, or that it has so much memory.
type tidings struct {
	mu    sync.Mutex
	waits map[string]map[chan bool]struct{}
}

// copyOf, deviceOf and memoryOf name what is waited for.
func copyOf(domain, disk string) string         { return "copy " + domain + " " + disk }
func deviceOf(domain, alias string) string      { return "device " + domain + " " + alias }
func memoryOf(domain string, kib uint64) string { return fmt.Sprint("memory ", domain, " ", kib) }

// await returns a channel that is sent how something ended, well or not. Stop ends
// that. It is called before what leads to the event. A copy has two: that it is alike,
// and its end.
func (t *tidings) await(what string) (ended <-chan bool, stop func()) {
	c := make(chan bool, 2)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waits == nil {
		t.waits = map[string]map[chan bool]struct{}{}
	}
	if t.waits[what] == nil {
		t.waits[what] = map[chan bool]struct{}{}
	}
	t.waits[what][c] = struct{}{}
	return c, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.waits[what], c)
		if len(t.waits[what]) == 0 {
			delete(t.waits, what)
		}
	}
}

func (t *tidings) tell(what string, well bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.waits[what] {
		select {
		case c <- well:
		default:
		}
	}
}

// hearTidings registers for those events of a new session.
func (p *Provider) hearTidings(s *session) error {
	for _, register := range []func() (int, error){
		func() (int, error) { return p.hearBoots(s) },
		func() (int, error) {
			return s.conn.DomainEventBlockJob2Register(nil, func(_ *lv.Connect, d *lv.Domain, e *lv.DomainEventBlockJob) {
				if id, err := d.GetUUIDString(); err == nil && e.Type == lv.DOMAIN_BLOCK_JOB_TYPE_COPY {
					p.tidings.tell(copyOf(id, e.Disk), e.Status == lv.DOMAIN_BLOCK_JOB_READY)
				}
			})
		},
		func() (int, error) {
			return s.conn.DomainEventDeviceRemovedRegister(nil, func(_ *lv.Connect, d *lv.Domain, e *lv.DomainEventDeviceRemoved) {
				if id, err := d.GetUUIDString(); err == nil {
					p.tidings.tell(deviceOf(id, e.DevAlias), true)
				}
			})
		},
		func() (int, error) {
			return s.conn.DomainEventDeviceRemovalFailedRegister(nil, func(_ *lv.Connect, d *lv.Domain, e *lv.DomainEventDeviceRemovalFailed) {
				if id, err := d.GetUUIDString(); err == nil {
					p.tidings.tell(deviceOf(id, e.DevAlias), false)
				}
			})
		},
		func() (int, error) {
			return s.conn.DomainEventBalloonChangeRegister(nil, func(_ *lv.Connect, d *lv.Domain, e *lv.DomainEventBalloonChange) {
				if id, err := d.GetUUIDString(); err == nil {
					p.changed(id)
					p.tidings.tell(memoryOf(id, e.Actual), true)
				}
			})
		},
	} {
		hook, err := register()
		if err != nil {
			return err
		}
		s.hooks = append(s.hooks, hook)
	}
	return nil
}
