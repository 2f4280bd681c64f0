package libvirt

import (
	"sync"
	"time"

	"github.com/univirt/univirt/resource"
)

// progressInterval keeps reports to about ten a second.
const progressInterval = 100 * time.Millisecond

// meter tells how far an operation is, from a goroutine of its own: who is told may
// be slow. A nil meter, of an operation whose caller does not ask, tells nothing.
type meter struct {
	tell resource.ProgressFunc
	stop chan struct{}
	over sync.WaitGroup

	mu      sync.Mutex
	state   resource.Progress
	changed bool
}

// newMeter begins to tell; the caller must finish it.
func newMeter(tell resource.ProgressFunc, op string, ref resource.Ref) *meter {
	if tell == nil {
		return nil
	}
	m := &meter{tell: tell, stop: make(chan struct{}), state: resource.Progress{Op: op, Ref: ref, Phase: "resolving"}, changed: true}
	m.over.Go(m.run)
	return m
}

func (m *meter) run() {
	ticker := time.NewTicker(progressInterval)
	defer ticker.Stop()
	for {
		m.report(false)
		select {
		case <-ticker.C:
		case <-m.stop:
			return
		}
	}
}

func (m *meter) report(must bool) {
	m.mu.Lock()
	now := m.state
	now.Time = time.Now()
	must = must || m.changed
	m.changed = false
	m.mu.Unlock()
	if must {
		m.tell(now)
	}
}

func (m *meter) change(change func(*resource.Progress)) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	change(&m.state)
	m.changed = true
}

// phase says what the operation does now.
func (m *meter) phase(name string) {
	m.change(func(p *resource.Progress) { p.Phase = name })
}

// moved says how many bytes have come so far, and how many there are: 0 where that
// is not known.
func (m *meter) moved(done, total int64) {
	m.change(func(p *resource.Progress) {
		p.Done = max(p.Done, done)
		if total = max(p.Total, total); total > 0 {
			p.Total = max(total, p.Done)
		}
	})
}

// finish makes the last report, and ends all others.
func (m *meter) finish(err error) {
	if m == nil {
		return
	}
	close(m.stop)
	m.over.Wait()
	if err == nil {
		m.change(func(p *resource.Progress) { p.Phase, p.Total = "done", p.Done })
	}
	m.report(true)
}
