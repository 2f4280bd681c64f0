//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"maps"
	"sync"
	"time"

	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/watching"
	"github.com/univirt/univirt/resource"
)

// happening is what libvirt says has happened to a domain.
type happening struct {
	id string
	// state is what it became; empty where it must be read.
	state  compute.State
	reason string
	// all says that anything may have happened to any domain, and gone that one is
	// there no more, unless it runs on.
	all, gone bool
	// look says that the state must be read, because no event may tell it.
	look bool
	// made says that a domain was defined which was not there.
	made bool
	// record is what this value has written.
	record *record
	// done, where not nil, gets the outcome.
	done chan error
	at   time.Time
}

// feed keeps the board's picture true: it takes libvirt's events in their order,
// reads what they do not say, and writes down how runs end.
//
// What is read may be ahead of events that are on their way. Those are told all the
// same: they did happen, and the last of them leads to what was read.
type feed struct {
	p *Provider
	// news are happenings in their order, without bound: libvirt's event loop, which
	// all connections of the process share, must not wait.
	mu   sync.Mutex
	news []happening
	wake chan struct{}
	over sync.WaitGroup
	// made are the domains that this value is making. It tells of them itself when all
	// is there.
	made map[string]bool

	// known is what the picture was made of. It is the goroutine's.
	known map[string]*seen
}

// seen is what is known of a domain.
type seen struct {
	subject  *watching.Subject
	state    compute.State
	revision int
	// run is the one under way, or the last, as it was read; 0 where one has begun since.
	run   int
	reset resetRecord
	found foundRecord
}

// hear registers for the events of a new session.
func (p *Provider) hear(s *session) error {
	lifecycle, err := s.conn.DomainEventLifecycleRegister(nil, func(_ *lv.Connect, d *lv.Domain, e *lv.DomainEventLifecycle) {
		if id, err := d.GetUUIDString(); err == nil {
			p.cache.changed(id)
			state, reason := became(e)
			p.feed.tell(happening{
				id: id, state: state, reason: reason, at: time.Now().UTC(),
				gone: e.Event == lv.DOMAIN_EVENT_UNDEFINED,
				made: e.Event == lv.DOMAIN_EVENT_DEFINED && lv.DomainEventDefinedDetailType(e.Detail) == lv.DOMAIN_EVENT_DEFINED_ADDED,
			})
		}
	})
	if err != nil {
		return err
	}
	s.hooks = append(s.hooks, lifecycle)
	metadata, err := s.conn.DomainEventMetadataChangeRegister(nil, func(_ *lv.Connect, d *lv.Domain, _ *lv.DomainEventMetadataChange) {
		if id, err := d.GetUUIDString(); err == nil {
			p.cache.changed(id)
			p.feed.tell(happening{id: id, at: time.Now().UTC()})
		}
	})
	if err != nil {
		return err
	}
	s.hooks = append(s.hooks, metadata)
	agent, err := s.conn.DomainEventAgentLifecycleRegister(nil, func(_ *lv.Connect, d *lv.Domain, e *lv.DomainEventAgentLifecycle) {
		id, err := d.GetUUIDString()
		if err != nil {
			return
		}
		p.cache.changed(id)
		if e.State == lv.CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED {
			p.feed.tell(happening{id: id, reason: resource.ReasonReady, at: time.Now().UTC()})
		}
	})
	if err != nil {
		return err
	}
	s.hooks = append(s.hooks, agent)
	return p.hearTidings(s)
}

// became says what a domain became by an event.
func became(e *lv.DomainEventLifecycle) (compute.State, string) {
	switch e.Event {
	case lv.DOMAIN_EVENT_STARTED:
		return compute.Running, resource.ReasonStart
	case lv.DOMAIN_EVENT_RESUMED:
		return compute.Running, resource.ReasonResume
	case lv.DOMAIN_EVENT_SUSPENDED:
		return compute.Paused, resource.ReasonPause
	case lv.DOMAIN_EVENT_STOPPED:
		if lv.DomainEventStoppedDetailType(e.Detail) == lv.DOMAIN_EVENT_STOPPED_SAVED {
			return compute.Suspended, resource.ReasonSuspend
		}
		return compute.Stopped, resource.ReasonExit
	}
	return "", ""
}

func (f *feed) start(p *Provider) {
	f.p, f.known = p, map[string]*seen{}
	f.over.Go(f.listen)
}

func (f *feed) wait() { f.over.Wait() }

// tell takes a happening down. What says the same as the one before is not said
// twice.
func (f *feed) tell(h happening) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.news); n > 0 && h.done == nil && f.news[n-1].same(h) {
		return
	}
	f.news = append(f.news, h)
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (h happening) same(other happening) bool {
	return h.id == other.id && h.state == "" && other.state == "" && h.all == other.all && h.gone == other.gone && h.made == other.made &&
		h.reason == other.reason && h.look == other.look && h.record == nil && other.record == nil
}

// making says that this value is about to make a domain, of which wrote or notMade tell.
func (f *feed) making(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.made == nil {
		f.made = map[string]bool{}
	}
	f.made[id] = true
}

func (f *feed) isMaking(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.made[id]
}

func (f *feed) noMore(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.made, id)
}

// notMade has a domain looked for that was not made as it should.
func (f *feed) notMade(id string) {
	f.noMore(id)
	f.tell(happening{id: id, at: time.Now().UTC()})
}

// reconnected has everything read again by a new session.
func (f *feed) reconnected() { f.tell(happening{all: true, at: time.Now().UTC()}) }

// refresh returns when the picture holds all that happened before.
func (f *feed) refresh(ctx context.Context) error {
	return f.await(ctx, happening{all: true})
}

// reread returns when the picture holds what happened to one domain before.
func (f *feed) reread(ctx context.Context, id string) error {
	return f.await(ctx, happening{id: id})
}

// wrote returns when the picture holds what this value has made of an instance. A
// change that follows is told by itself then.
func (f *feed) wrote(ctx context.Context, id string, r *record) {
	_ = f.await(ctx, happening{id: id, record: r})
	f.noMore(id)
}

func (f *feed) await(ctx context.Context, h happening) error {
	h.done, h.at = make(chan error, 1), time.Now().UTC()
	f.tell(h)
	select {
	case err := <-h.done:
		return err
	case <-ctx.Done():
		return ended(ctx)
	case <-f.p.alive.Done():
		return errClosed()
	}
}

// settle returns when those who watch have been told that an instance is in a
// state, or that it is gone, of which an event of libvirt's can be slower than the
// answer to the call.
func (f *feed) settle(ctx context.Context, id string, state compute.State) {
	patient, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	f.p.board.Until(patient, watching.Key{Kind: resource.KindInstance, ID: id}, func(s *watching.Subject) bool {
		if s == nil {
			return state == ""
		}
		return s.State == string(state)
	})
	if patient.Err() != nil && ctx.Err() == nil {
		// The event does not come.
		_ = f.reread(ctx, id)
	}
}

// next takes the next happening off the list.
func (f *feed) next() (happening, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.news) == 0 {
		return happening{}, false
	}
	h := f.news[0]
	f.news[0] = happening{}
	f.news = f.news[1:]
	return h, true
}

func (f *feed) listen() {
	// again is when everything is read again because it could not be read.
	var again <-chan time.Time
	for f.p.alive.Err() == nil {
		h, some := f.next()
		if !some {
			select {
			case <-f.wake:
			case <-again:
				again = nil
				f.reconnected()
			case <-f.p.alive.Done():
			}
			continue
		}
		err := f.take(h)
		if err != nil && f.p.alive.Err() == nil {
			f.p.opts.Logger.Debug("what happened cannot be read", "error", err)
			f.p.board.Lose(err)
			again = time.After(rereadPause)
		}
		if h.done != nil {
			h.done <- err
		}
	}
}

// eventPatience is how long an event may be slower than what is read.
const eventPatience = 100 * time.Millisecond

// rereadPause is how long nothing is read where that has failed.
const rereadPause = 100 * time.Millisecond

// take brings the picture to what has happened.
func (f *feed) take(h happening) error {
	if h.all {
		return f.takeAll(h.at)
	}
	s := f.known[h.id]
	switch {
	case h.record != nil:
		f.takeWritten(s, h)
		return nil
	case h.reason == resource.ReasonReady:
		if s != nil {
			f.p.board.Change(func(p *watching.Picture) { p.Set(s.subject, h.reason, h.at) })
		}
		return nil
	case s != nil && h.made, h.made && f.isMaking(h.id):
		// What is read now may be ahead of events that follow.
		return nil
	case s != nil && h.state != "":
		f.step(s, h.state, h.reason, h.at)
		if h.state != compute.Stopped {
			return nil
		}
		// How it ended is to be written down.
	}
	d, err := f.p.read(f.p.alive, h.id)
	if isNotFound(err) {
		// But for the event that says so, others come first that happened before.
		if h.gone || h.done != nil {
			f.gone(h.id, h.at)
		}
		return nil
	}
	if err != nil {
		return err
	}
	// The state of what is known is told by its events. One that does not come, as of
	// a machine that ends while its daemon takes it up again, is seen a moment later.
	if s := f.known[h.id]; s != nil && s.state != shown(d.state) && !h.look && h.done == nil {
		time.AfterFunc(eventPatience, func() { f.tell(happening{id: h.id, look: true, at: h.at}) })
	}
	f.found(d, h.at, h.look || h.done != nil)
	return nil
}

func (f *feed) takeAll(at time.Time) error {
	all, err := f.p.readAll(f.p.alive)
	if err != nil {
		return err
	}
	there := make(map[string]bool, len(all))
	for _, d := range all {
		there[d.id] = true
	}
	for id := range maps.Clone(f.known) {
		if !there[id] {
			f.gone(id, at)
		}
	}
	for _, d := range all {
		f.found(d, at, true)
	}
	f.p.board.Change(func(*watching.Picture) {})
	return nil
}

// step tells that a domain that is known is in another state.
func (f *feed) step(s *seen, to compute.State, reason string, at time.Time) {
	switch {
	case s.state == to,
		// A machine begins by being resumed, which its start tells.
		reason == resource.ReasonResume && s.state != compute.Paused,
		// What is over does not pause.
		to == compute.Paused && !s.state.Active():
		return
	}
	if !s.state.Active() && to.Active() {
		s.run = 0
	}
	s.state = to
	s.subject = s.subject.In(string(to))
	f.p.board.Change(func(p *watching.Picture) { p.Set(s.subject, reason, at) })
}

func (f *feed) gone(id string, at time.Time) {
	s := f.known[id]
	if s == nil {
		f.p.board.Notify(watching.Key{Kind: resource.KindInstance, ID: id})
		return
	}
	if s.state.Active() {
		f.step(s, compute.Stopped, resource.ReasonExit, at)
	}
	delete(f.known, id)
	f.p.board.Change(func(p *watching.Picture) { p.Remove(s.subject.Key(), at) })
}

// takeWritten takes what this value has made of an instance, which may be gone
// before it could be read.
func (f *feed) takeWritten(s *seen, h happening) {
	d := &domain{id: h.id, facts: &facts{record: h.record}, state: compute.Stopped}
	subject := f.p.subject(d)
	switch {
	case s == nil && h.record.Revision == 1:
		f.known[h.id] = &seen{subject: subject, state: compute.Stopped, revision: h.record.Revision}
		f.p.board.Change(func(p *watching.Picture) { p.Set(subject, resource.ReasonCreate, h.at) })
	case s != nil && s.revision < h.record.Revision:
		f.rewritten(s, subject, h.record.Revision, h.at)
	}
}

// rewritten tells that a domain has another record.
func (f *feed) rewritten(s *seen, subject *watching.Subject, revision int, at time.Time) {
	s.subject, s.revision = subject.In(string(s.state)), revision
	f.p.board.Change(func(p *watching.Picture) { p.Set(s.subject, resource.ReasonUpdate, at) })
}

// found brings a domain of the picture to what was read: all of it, or but for the
// state, which events tell.
func (f *feed) found(d *domain, at time.Time, state bool) {
	subject := f.p.subject(d)
	if subject == nil {
		return
	}
	if d.unnoted() {
		now, err := f.p.noteExit(f.p.alive, d, at)
		if err != nil && !isNotFound(err) && f.p.alive.Err() == nil {
			f.p.opts.Logger.Warn("how a run ended cannot be written down", "instance", d.id, "error", err)
		}
		d = now
	}
	now, revision := shown(d.state), 0
	if d.facts.record != nil {
		revision = d.facts.record.Revision
	}
	s := f.known[d.id]
	if s == nil {
		f.known[d.id] = &seen{subject: subject, state: now, revision: revision, run: d.lastRun(), reset: d.facts.reset, found: d.facts.found}
		f.p.board.Change(func(p *watching.Picture) { p.Set(subject, resource.ReasonCreate, at) })
		return
	}
	if s.revision < revision || s.subject.Managed != subject.Managed {
		f.rewritten(s, subject, revision, at)
	}
	if state {
		if s.state.Active() && now.Active() && s.run != 0 && s.run != d.lastRun() {
			f.step(s, compute.Stopped, resource.ReasonExit, at)
		}
		f.step(s, now, reasonFor(s.state, now), at)
		s.run = d.lastRun()
	}
	if s.reset != d.facts.reset {
		s.reset = d.facts.reset
		f.p.board.Change(func(p *watching.Picture) { p.Set(s.subject, resource.ReasonReset, at) })
	}
	f.judged(s, d.facts.found, at)
	f.p.board.Notify(s.subject.Key())
}

// judged tells what a supervisor has found out.
func (f *feed) judged(s *seen, now foundRecord, at time.Time) {
	was := s.found
	s.found = now
	if was.Run != now.Run || was.Resets != now.Resets {
		was = foundRecord{}
	}
	if now.Health != was.Health {
		f.p.board.Change(func(p *watching.Picture) { p.Set(s.subject, resource.ReasonHealth, at) })
	}
	if now.Ready && !was.Ready {
		f.p.board.Change(func(p *watching.Picture) { p.Set(s.subject, resource.ReasonReady, at) })
	}
}

// reasonFor is the reason of a change of state that was read.
func reasonFor(from, to compute.State) string {
	switch to {
	case compute.Running:
		if from == compute.Paused {
			return resource.ReasonResume
		}
		return resource.ReasonStart
	case compute.Paused:
		return resource.ReasonPause
	case compute.Suspended:
		return resource.ReasonSuspend
	case compute.Stopped:
		return resource.ReasonExit
	}
	return ""
}

// shown is the state that a watch tells: what a passing one leads to is told by an
// event of its own.
func shown(s compute.State) compute.State {
	switch s {
	case compute.Starting, compute.Creating:
		return compute.Stopped
	case compute.Stopping:
		return compute.Running
	}
	return s
}
