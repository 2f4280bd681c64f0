package providertest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	univirt "github.com/univirt/univirt"
	"github.com/univirt/univirt/resource"
)

// tape records a watch of the instances of a namespace that is empty when it
// begins.
type tape struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	events map[string][]resource.Event
	synced bool
	err    error
	// news is closed and replaced with each event.
	news chan struct{}
}

// recordTape begins a watch and returns when it has said that nothing is there.
func recordTape(ctx context.Context, s *suite, p univirt.Provider) (*tape, error) {
	watchCtx, cancel := context.WithCancel(ctx)
	t := &tape{
		cancel: cancel, done: make(chan struct{}),
		events: make(map[string][]resource.Event), news: make(chan struct{}),
	}
	go func() {
		defer close(t.done)
		for event, err := range p.Watch(watchCtx, onlyInstances) {
			if !t.note(event, err) {
				return
			}
		}
		t.note(resource.Event{}, errors.New("the watch ended without an error"))
	}()
	if !t.await(ctx, s, func() bool { return t.synced }) {
		t.stop()
		return nil, fmt.Errorf("watch: no Synced: %w", errors.Join(errors.New("it was waited for"), t.err))
	}
	return t, nil
}

// note takes an event, and reports whether the watch shall go on.
func (t *tape) note(event resource.Event, err error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err != nil:
		t.err = err
	case event.Type == resource.EventSynced:
		t.synced = true
	case event.Ref.ID == "":
		t.err = fmt.Errorf("an event that nothing gave reason for: %s", eventString(event))
	default:
		t.events[event.Ref.ID] = append(t.events[event.Ref.ID], event)
	}
	close(t.news)
	t.news = make(chan struct{})
	return t.err == nil
}

// await waits until the answer is yes, which it asks for after each event. It
// reports false where the watch or the patience ended first.
func (t *tape) await(ctx context.Context, s *suite, ask func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, s.h.Patience)
	defer cancel()
	for {
		t.mu.Lock()
		yes, err, news := ask(), t.err, t.news
		t.mu.Unlock()
		if yes || err != nil {
			return yes
		}
		select {
		case <-news:
		case <-ctx.Done():
			return false
		}
	}
}

// stop ends the watch.
func (t *tape) stop() {
	t.cancel()
	<-t.done
}

// deleted reports whether the end of an instance was told.
func (t *tape) deleted(id string) bool {
	events := t.events[id]
	return len(events) > 0 && events[len(events)-1].Type == resource.EventDeleted
}
