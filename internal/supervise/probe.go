package supervise

import (
	"context"
	"sync"
	"time"

	"github.com/univirt/univirt/compute"
)

const (
	defaultProbeInterval = 10 * time.Second
	defaultProbeFailures = 3
	// firstProbes is the interval while failures do not count yet, and the wait for
	// what stood still.
	firstProbes = 100 * time.Millisecond
)

// checks are the probes of a run, and what they have found out. The supervisor's lock
// guards them, but for notes.
type checks struct {
	i      *instance
	run    string
	resets int
	ctx    context.Context
	cancel context.CancelFunc
	probes []*prober
	// began is when the run or its guest did, as far as that is known.
	began time.Time
	found Findings
	// failures counts those in a row of the health check.
	failures int

	// notes is held while findings are written down, the last of which are noted.
	notes sync.Mutex
	noted Findings
}

// prober is one probe of a run.
type prober struct {
	*checks
	probe *compute.Probe
	// health says that it is the health check.
	health bool
	// judge is told the outcome, and says when the next check is due: never where that
	// is 0.
	judge func(p *prober, err error) time.Duration
	// next is the next check, busy says that one is under way, and done that there will
	// be no other.
	next       *time.Timer
	busy, done bool
}

// probe begins to check a run, goes on, or ends that. What stands still is not
// checked. The supervisor is locked.
func (s *supervisor) probe(i *instance) {
	status, wait := i.status, firstProbes
	if c := i.checks; c != nil && (c.run != status.Run || c.resets != status.Resets || !status.goesOn()) {
		c.end()
		i.checks = nil
	}
	if i.checks == nil && status.goesOn() && (status.Health != nil || status.Readiness != nil) {
		i.checks, wait = s.newChecks(i), 0
	}
	if i.checks == nil {
		return
	}
	for _, p := range i.checks.probes {
		if status.State == compute.Running {
			s.arm(p, wait)
		} else {
			p.disarm()
		}
	}
}

func (s *supervisor) newChecks(i *instance) *checks {
	c := &checks{
		i: i, run: i.status.Run, resets: i.status.Resets, began: i.status.Started, found: i.status.Found, noted: i.status.Found,
	}
	if c.began.IsZero() || c.resets > 0 {
		// The event may be faster than whoever writes that down, and a reset has no time.
		c.began = time.Now()
	}
	c.ctx, c.cancel = context.WithCancel(s.ctx)
	if probe := i.status.Health; probe != nil {
		c.probes = append(c.probes, &prober{checks: c, probe: probe, health: true, judge: (*prober).judgeHealth})
	}
	if probe := i.status.Readiness; probe != nil {
		c.probes = append(c.probes, &prober{checks: c, probe: probe, judge: (*prober).judgeReadiness, done: c.found.Ready})
	}
	return c
}

// end ends the checks of a run. The supervisor is locked.
func (c *checks) end() {
	if c == nil {
		return
	}
	c.cancel()
	for _, p := range c.probes {
		p.disarm()
	}
}

// arm has the next check follow after a while, unless one is on its way. The
// supervisor is locked.
func (s *supervisor) arm(p *prober, wait time.Duration) {
	if p.next == nil && !p.busy && !p.done {
		p.next = s.after(wait, func() { s.check(p) })
	}
}

func (p *prober) disarm() {
	if p.next != nil {
		p.next.Stop()
		p.next = nil
	}
}

// check carries a probe out once.
func (s *supervisor) check(p *prober) {
	c := p.checks
	s.mu.Lock()
	if p.next == nil || c.ctx.Err() != nil {
		s.mu.Unlock()
		return // it was taken back
	}
	p.next, p.busy = nil, true
	ports := c.i.status.Ports
	s.mu.Unlock()

	err := s.target.Check(c.ctx, c.i.id, *p.probe, ports)
	idle := err != nil && s.decides(p) && s.standsStill(c)

	s.mu.Lock()
	wait := firstProbes
	if !idle && c.ctx.Err() == nil && c.i.status.State == compute.Running {
		wait = p.judge(p, err)
		p.done = wait == 0
	}
	s.mu.Unlock()

	if !s.note(c) {
		// What is found out the next time will be written down.
		s.mu.Lock()
		wait, p.done = intervalOf(p.probe), false
		s.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p.busy = false
	if c.ctx.Err() == nil && c.i.status.State == compute.Running {
		s.arm(p, wait)
	}
}

// decides reports whether another failure makes the instance unhealthy.
func (s *supervisor) decides(p *prober) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return p.health && p.found.Health != compute.HealthUnhealthy && p.failures+1 >= failuresOf(p.probe)
}

// standsStill reports whether the run does not go on, of which the event may be on its
// way: what failed then says nothing.
func (s *supervisor) standsStill(c *checks) bool {
	status, err := s.target.Look(c.ctx, c.i.id)
	return err != nil || status.Run != c.run || status.Resets != c.resets || status.State != compute.Running
}

// judgeHealth is told the outcome of a health check. The supervisor is locked.
func (p *prober) judgeHealth(err error) time.Duration {
	c, interval := p.checks, intervalOf(p.probe)
	switch starting := c.found.Health == ""; {
	case err == nil:
		c.found.Health, c.failures = compute.HealthHealthy, 0
	case starting && time.Since(c.began) < p.probe.StartPeriod:
		interval = min(interval, firstProbes)
	default:
		if c.failures++; c.failures >= failuresOf(p.probe) {
			c.found.Health = compute.HealthUnhealthy
		}
	}
	return interval
}

// judgeReadiness is told the outcome of a readiness probe, which is checked no more
// once it has passed. The supervisor is locked.
func (p *prober) judgeReadiness(err error) time.Duration {
	if err != nil {
		return min(intervalOf(p.probe), firstProbes)
	}
	p.found.Ready = true
	return 0
}

// note writes down what was found out about a run, and reports whether nothing is left
// to be written.
func (s *supervisor) note(c *checks) bool {
	c.notes.Lock()
	defer c.notes.Unlock()
	s.mu.Lock()
	found := c.found
	s.mu.Unlock()
	if found == c.noted {
		return true
	}
	if err := s.target.Note(c.ctx, c.i.id, c.run, c.resets, found); err != nil {
		if c.ctx.Err() == nil {
			s.logger.Warn("the health of an instance cannot be written down", "instance", c.i.id, "error", err)
		}
		return false
	}
	c.noted = found
	return true
}

func intervalOf(probe *compute.Probe) time.Duration {
	if probe.Interval == 0 {
		return defaultProbeInterval
	}
	return probe.Interval
}

func failuresOf(probe *compute.Probe) int {
	if probe.Failures == 0 {
		return defaultProbeFailures
	}
	return probe.Failures
}
