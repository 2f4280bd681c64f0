package fake

import (
	"context"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// The supervisor is the backend's: it goes on when values are closed, and its
// calls are those of a value of its own, which latencies and the faults of
// Backend.Fail strike as all others. It is made of timers, so that no goroutine
// waits for an instance that rests.

const (
	// defaultBackoff is the wait before the first restart, and maxBackoff the
	// longest.
	defaultBackoff, maxBackoff = 100 * time.Millisecond, 5 * time.Minute
	// steady is how long a run lasts that ends a row of restarts.
	steady = 10 * time.Second

	defaultProbeInterval = 10 * time.Second
	defaultProbeFailures = 3
	// firstProbes is the interval while failures do not count yet.
	firstProbes = 100 * time.Millisecond
)

// supervisor is the value that supervises a namespace, made on first use. The
// backend is locked.
func (s *space) supervisor() *Provider {
	if s.watchman == nil {
		s.watchman = &Provider{backend: s.backend, space: s, owner: nobody, over: s.backend.over}
	}
	return s.watchman
}

// after calls a function once the time has passed, unless the backend is closed by
// then. The backend is not locked.
func (b *Backend) after(d time.Duration, do func()) *time.Timer {
	return time.AfterFunc(d, func() {
		b.mu.Lock()
		if b.closed {
			b.mu.Unlock()
			return
		}
		b.crew.join()
		b.mu.Unlock()
		defer b.crew.leave()
		do()
	})
}

// row is a row of restarts. The backend's lock guards it.
type row struct {
	// count is how many there were.
	count int
	// next will begin another one; nil while a run is under way.
	next *time.Timer
}

// follow has another run begin where the policy wants one after a run that has
// ended. The backend is locked.
func (i *instance) follow(r *run) {
	if !i.space.backend.opts.Supervised || r.stopped || i.state != compute.Stopped || !i.restarts(r) {
		i.rest()
		return
	}
	if i.more().row == nil || r.exit.Finished.Sub(r.exit.Started) >= steady {
		i.parts.row = &row{}
	}
	i.restartLater(i.parts.row)
}

// restarts reports whether the policy wants another run after one that has ended.
// The backend is locked.
func (i *instance) restarts(r *run) bool {
	switch i.spec.Restart.Mode {
	case compute.RestartAlways:
		return true
	case compute.RestartOnFailure:
		return r.exit.Code != 0
	}
	return false
}

// restartLater begins a run after the next wait of a row, unless the row is at its
// end. The backend is locked.
func (i *instance) restartLater(w *row) {
	policy := i.spec.Restart
	if policy.MaxRetries > 0 && w.count >= policy.MaxRetries {
		i.rest()
		return
	}
	wait := policy.Backoff
	if wait == 0 {
		wait = defaultBackoff
	}
	for range w.count {
		wait = max(wait, min(2*wait, maxBackoff))
	}
	w.count++
	w.next = i.space.backend.after(wait, func() { i.restart(w) })
}

// restart begins the next run of a row. The backend is not locked.
func (i *instance) restart(w *row) {
	b := i.space.backend
	b.mu.Lock()
	p := i.space.supervisor()
	b.mu.Unlock()
	h := &handle{p: p, id: i.id, name: i.name}
	wanted := func() bool { return !i.gone && i.parts.row == w && w.next != nil }
	err := h.change(context.Background(), OpStart, compute.OpStart, "", func(i *instance, _ compute.Transition) error {
		if !wanted() || !i.restarts(i.run) {
			return nil
		}
		c, err := b.commandOf(i.image, i.spec.Process, nil)
		if err == nil {
			err = p.begin(i, c)
		}
		if err == nil {
			w.next = nil
		}
		return err
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case err == nil || !wanted():
	case errdefs.IsNotFound(err) || errdefs.IsFailedPrecondition(err):
		i.rest()
	default:
		i.restartLater(w)
	}
}

// rest ends a row of restarts: none follows. The backend is locked.
func (i *instance) rest() {
	if i.parts == nil || i.parts.row == nil {
		return
	}
	if next := i.parts.row.next; next != nil {
		next.Stop()
	}
	i.parts.row = nil
}

// checks are what probes have found out about a run. The backend's lock guards
// them.
type checks struct {
	run *run
	// health is the outcome of the health check, empty where there is none, and
	// failures counts those in a row.
	health   compute.Health
	failures int
	// passed says that the readiness probe has.
	passed bool
}

// supervise begins to probe a run, where the spec says how. The backend is locked.
func (r *run) supervise() {
	spec := r.instance.spec
	r.checks = nil
	if !r.backend().opts.Supervised || spec.Health == nil && spec.Readiness == nil {
		return
	}
	c := &checks{run: r}
	r.checks = c
	if spec.Health != nil {
		c.health = compute.HealthStarting
		c.probe(spec.Health, 0, c.judge)
	}
	if spec.Readiness != nil {
		c.probe(spec.Readiness, 0, c.await)
	}
}

// probe carries a probe out after a while, and again as long as the judgement says
// after which time. The backend is locked.
func (c *checks) probe(probe *compute.Probe, wait time.Duration, judge func(probe *compute.Probe, err error) time.Duration) {
	i, b := c.run.instance, c.run.backend()
	h := &handle{p: i.space.supervisor(), id: i.id, name: i.name}
	ports := i.spec.Ports
	b.after(wait, func() {
		b.mu.Lock()
		paused := i.state == compute.Paused || i.state == compute.Suspended
		current := c.current()
		b.mu.Unlock()
		var err error
		if current && !paused {
			err = compute.Check(context.Background(), h, *probe, ports)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		switch {
		case !c.current():
		case paused || i.state != compute.Running:
			// What stands still is neither well nor ill.
			c.probe(probe, firstProbes, judge)
		default:
			if wait := judge(probe, err); wait > 0 {
				c.probe(probe, wait, judge)
			}
		}
	})
}

// current reports whether the run goes on, and is not one that a reset has begun
// anew. The backend is locked.
func (c *checks) current() bool {
	r := c.run
	return !r.over && !r.ending && r.checks == c && r.instance.run == r
}

// judge is told the outcome of a health check, and says when the next one is due.
// The backend is locked.
func (c *checks) judge(probe *compute.Probe, err error) time.Duration {
	interval := intervalOf(probe)
	health, most := c.health, probe.Failures
	if most == 0 {
		most = defaultProbeFailures
	}
	switch {
	case err == nil:
		health, c.failures = compute.HealthHealthy, 0
	case health == compute.HealthStarting && time.Since(c.run.exit.Started) < probe.StartPeriod:
		interval = min(interval, firstProbes)
	default:
		if c.failures++; c.failures >= most {
			health = compute.HealthUnhealthy
		}
	}
	if health != c.health {
		c.health = health
		c.run.instance.space.emit(c.run.instance, resource.EventChanged, resource.ReasonHealth)
	}
	return interval
}

// await is told the outcome of a readiness probe, and says when the next one is
// due: never again once one has passed. The backend is locked.
func (c *checks) await(probe *compute.Probe, err error) time.Duration {
	if err != nil {
		return min(intervalOf(probe), firstProbes)
	}
	c.passed = true
	c.run.instance.space.emit(c.run.instance, resource.EventChanged, resource.ReasonReady)
	return 0
}

func intervalOf(probe *compute.Probe) time.Duration {
	if probe.Interval == 0 {
		return defaultProbeInterval
	}
	return probe.Interval
}

// healthy reports whether the probes of a run that say so have passed. The backend
// is locked.
func (r *run) healthy() bool {
	switch c := r.checks; {
	case c == nil:
		return false
	case r.instance.spec.Readiness != nil:
		return c.passed
	default:
		return c.health == compute.HealthHealthy
	}
}
