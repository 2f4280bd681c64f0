package supervise

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/resource"
)

// Run supervises instances until the context ends, and returns when nothing of it is
// left. There must be one at a time.
func Run(ctx context.Context, target Target, logger *slog.Logger) {
	ctx, cancel := context.WithCancel(ctx)
	s := &supervisor{ctx: ctx, target: target, logger: logger, known: map[string]*instance{}, starts: make(chan struct{}, startsAtOnce)}
	for ctx.Err() == nil {
		if err := s.follow(); err != nil && ctx.Err() == nil {
			logger.Warn("the supervisor begins anew", "error", err)
		}
		pause := time.NewTimer(anew)
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
		pause.Stop()
	}
	cancel()
	s.rest()
}

const (
	// anew is how long a supervisor waits that cannot be told what happens.
	anew = time.Second
	// startsAtOnce bounds how many instances begin a run at the same time: after a
	// host has come up all are due at once.
	startsAtOnce = 4
)

// supervisor is made of timers, so that no goroutine waits for an instance that rests.
type supervisor struct {
	ctx    context.Context
	target Target
	logger *slog.Logger
	starts chan struct{}

	mu sync.Mutex
	// known are the instances that something is to be done about.
	known map[string]*instance
	// crew are the functions of timers that have gone off; over says that none may
	// begin any more.
	crew sync.WaitGroup
	over bool
}

// instance is one that something is to be done about. The supervisor's lock guards
// it.
type instance struct {
	id     string
	status Status
	// next will begin another run; nil where none is due.
	next *start
	// starting says that one is about to begin.
	starting bool
	// failed is how often that was tried after the last run, and given says of which
	// run nobody tries again.
	failed int
	given  string
	// checks are those of the run under way.
	checks *checks
}

// start is a run that will begin.
type start struct{ timer *time.Timer }

// after calls a function once the time has passed, unless the supervisor ends before.
func (s *supervisor) after(d time.Duration, do func()) *time.Timer {
	return time.AfterFunc(d, func() {
		s.mu.Lock()
		if s.over {
			s.mu.Unlock()
			return
		}
		s.crew.Add(1)
		s.mu.Unlock()
		defer s.crew.Done()
		do()
	})
}

// rest ends what is under way.
func (s *supervisor) rest() {
	s.mu.Lock()
	s.over = true
	for id := range s.known {
		s.drop(id)
	}
	s.mu.Unlock()
	s.crew.Wait()
}

// follow takes in what happens for as long as it is told.
func (s *supervisor) follow() error {
	synced := false
	for event, err := range s.target.Watch(s.ctx) {
		if err != nil {
			return err
		}
		switch event.Type {
		case resource.EventSynced:
			if err := s.takeAll(); err != nil {
				return err
			}
			synced = true
		case resource.EventGap:
			synced = false
		case resource.EventAdded, resource.EventChanged:
			// What is found out here is known here.
			if synced && event.Reason != resource.ReasonHealth && event.Reason != resource.ReasonReady {
				if err := s.look(event.Ref.ID); err != nil {
					return err
				}
			}
		case resource.EventDeleted:
			s.mu.Lock()
			s.drop(event.Ref.ID)
			s.mu.Unlock()
		}
	}
	return nil
}

func (s *supervisor) takeAll() error {
	all, err := s.target.All(s.ctx)
	if err != nil {
		return err
	}
	there := make(map[string]bool, len(all))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, status := range all {
		there[status.ID] = true
		s.take(status)
	}
	for id := range s.known {
		if !there[id] {
			s.drop(id)
		}
	}
	return nil
}

// look takes in what an instance is now.
func (s *supervisor) look(id string) error {
	status, err := s.target.Look(s.ctx, id)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		s.take(status)
	case errdefs.IsNotFound(err):
		s.drop(id)
		err = nil
	}
	return err
}

// take decides what is to be done about an instance. The supervisor is locked.
func (s *supervisor) take(status Status) {
	if s.over {
		return
	}
	i := s.known[status.ID]
	if i == nil {
		i = &instance{id: status.ID}
		s.known[i.id] = i
	}
	if i.status.Run != status.Run {
		i.failed, i.given = 0, ""
		i.unplan()
	}
	i.status = status
	s.plan(i)
	s.probe(i)
	s.release(i)
}

// release forgets an instance about which nothing is to be done. The supervisor is
// locked.
func (s *supervisor) release(i *instance) {
	if i.next == nil && !i.starting && i.checks == nil && i.given == "" {
		delete(s.known, i.id)
	}
}

// drop forgets an instance. The supervisor is locked.
func (s *supervisor) drop(id string) {
	if i := s.known[id]; i != nil {
		i.unplan()
		i.checks.end()
		i.checks = nil
		delete(s.known, id)
	}
}

func (i *instance) unplan() {
	if i.next != nil {
		i.next.timer.Stop()
		i.next = nil
	}
}

// plan has another run begin where the policy wants one. What is planned stays so for
// as long as the policy wants it at all: how long the wait is was decided when the run
// ended. The supervisor is locked.
func (s *supervisor) plan(i *instance) {
	now := time.Now()
	at, _, ok := i.status.next(now, i.failed)
	switch {
	case !ok || i.given == i.status.Run:
		i.unplan()
	case i.next == nil && !i.starting:
		run, next := i.status.Run, new(start)
		next.timer = s.after(at.Sub(now), func() { s.restart(i, run, next) })
		i.next = next
	}
}

// restart begins the run that follows another one.
func (s *supervisor) restart(i *instance, run string, next *start) {
	s.mu.Lock()
	if i.next != next {
		s.mu.Unlock()
		return // it was taken back
	}
	i.next, i.starting = nil, true
	failed := i.failed
	s.mu.Unlock()

	err := s.begin(i.id, run, failed)

	s.mu.Lock()
	defer s.mu.Unlock()
	i.starting = false
	switch {
	case s.known[i.id] != i || s.over:
	case i.status.Run != run:
		// What has begun was told of before, and may be over.
		s.plan(i)
		s.release(i)
	case err == nil:
		// An event tells of what has begun, or else of what was in the way.
		i.given = run
	case errdefs.IsNotFound(err) || errdefs.IsFailedPrecondition(err):
		i.given = run
		s.logger.Warn("an instance is not restarted", "instance", i.id, "error", err)
	default:
		s.logger.Warn("an instance cannot be restarted", "instance", i.id, "error", err)
		i.failed++
		s.plan(i)
	}
}

// begin begins another run, if one is due still.
func (s *supervisor) begin(id, run string, failed int) error {
	select {
	case s.starts <- struct{}{}:
		defer func() { <-s.starts }()
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
	return s.target.Restart(s.ctx, id, func(now Status) (int, bool) {
		if now.Run != run {
			return 0, false
		}
		_, restarts, ok := now.next(time.Now(), failed)
		return restarts, ok
	})
}
