package providertest

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	univirt "github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// watching reads a stream of events as fast as it comes.
type watching struct {
	e      *env
	events chan resource.Event
	// end gets the error that the stream ended with, or nil.
	end    chan error
	cancel context.CancelFunc
	// back are events that were taken and given back.
	back []resource.Event
	// seen are the events that were taken, for messages.
	seen []resource.Event
}

// watch begins to read a provider's events. The stream ends with the case, or by
// stop.
func (e *env) watch(p univirt.Provider, opts resource.WatchOptions) *watching {
	e.Helper()
	return e.read(func(ctx context.Context) iter.Seq2[resource.Event, error] { return p.Watch(ctx, opts) })
}

func (e *env) read(stream func(context.Context) iter.Seq2[resource.Event, error]) *watching {
	ctx, cancel := context.WithCancel(e.ctx)
	w := &watching{e: e, events: make(chan resource.Event, 4096), end: make(chan error, 1), cancel: cancel}
	go func() {
		var last error
		defer func() { w.end <- last }()
		for event, err := range stream(ctx) {
			if err != nil {
				last = err
				continue
			}
			select {
			case w.events <- event:
			case <-ctx.Done():
			}
		}
	}()
	return w
}

// next returns the next event.
func (w *watching) next(what string) resource.Event {
	w.e.Helper()
	if len(w.back) > 0 {
		event := w.back[0]
		w.back = w.back[1:]
		return event
	}
	timer := time.NewTimer(w.e.s.h.Patience)
	defer timer.Stop()
	select {
	case event := <-w.events:
		w.seen = append(w.seen, event)
		return event
	case err := <-w.end:
		w.end <- err
		// The last events may have come together with the end.
		select {
		case event := <-w.events:
			w.seen = append(w.seen, event)
			return event
		default:
		}
		require.Fail(w.e, "the stream ended", "waited for %s; the error is: %v; seen: %s", what, err, w)
	case <-timer.C:
		require.Fail(w.e, "an event does not come", "waited for %s; seen: %s", what, w)
	}
	panic("unreachable")
}

// String lists the events that were taken.
func (w *watching) String() string {
	var b strings.Builder
	for _, e := range w.seen {
		fmt.Fprintf(&b, "\n\t%s %s %s %s", e.Type, e.Ref.Label(), e.State, e.Reason)
	}
	return b.String()
}

// synced takes what is there up to Synced, and returns it sorted by name.
func (w *watching) synced() []resource.Event {
	w.e.Helper()
	var there []resource.Event
	for {
		event := w.next("what is there")
		switch event.Type {
		case resource.EventSynced:
			require.Zero(w.e, event.Ref, "the resource of Synced")
			slices.SortFunc(there, func(a, b resource.Event) int { return strings.Compare(a.Ref.Name, b.Ref.Name) })
			return there
		case resource.EventAdded:
			there = append(there, event)
		default:
			require.Fail(w.e, "before Synced only Added is told", "%s", w)
		}
	}
}

// moment is what a case expects of an event.
type moment struct {
	kind   resource.EventType
	name   string
	reason string
	state  compute.State
}

// told are the reasons that every provider tells.
var told = []string{
	resource.ReasonCreate, resource.ReasonStart, resource.ReasonExit, resource.ReasonPause,
	resource.ReasonResume, resource.ReasonSuspend, resource.ReasonUpdate,
}

// expect takes events until each of the moments has been told, in their order.
// Between them a provider may tell of transitional states, and reasons that not
// all of them tell.
func (w *watching) expect(moments ...moment) []resource.Event {
	w.e.Helper()
	var events []resource.Event
	for _, want := range moments {
		for {
			event := w.next(fmt.Sprintf("%v", want))
			if event.Type == want.kind && event.Ref.Name == want.name &&
				(want.reason == "" || event.Reason == want.reason) &&
				(want.state == "" || event.State == string(want.state)) {
				events = append(events, event)
				break
			}
			aside := event.Type == resource.EventChanged &&
				(!compute.State(event.State).Settled() || !slices.Contains(told, event.Reason))
			require.True(w.e, aside, "an event that is out of order; expected: %v; seen: %s", want, w)
		}
	}
	return events
}

// stop ends the stream and returns its error.
func (w *watching) stop() error {
	w.e.Helper()
	w.cancel()
	var err error
	hung := w.e.returns("the end of a watch", func() error { err = <-w.end; return nil })
	require.NoError(w.e, hung)
	w.end <- err
	return err
}

// created, started, exited, updated and deleted are moments in an instance's
// life.
func created(name string) moment {
	return moment{resource.EventAdded, name, resource.ReasonCreate, compute.Stopped}
}

func started(name string) moment {
	return moment{resource.EventChanged, name, resource.ReasonStart, compute.Running}
}

func exited(name string) moment {
	return moment{resource.EventChanged, name, resource.ReasonExit, compute.Stopped}
}

func updated(name string) moment {
	return moment{resource.EventChanged, name, resource.ReasonUpdate, ""}
}

func deleted(name string) moment { return moment{resource.EventDeleted, name, "", ""} }
