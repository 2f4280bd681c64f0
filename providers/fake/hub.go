package fake

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/univirt/univirt/resource"
)

// hub tells the watches of one namespace what happens. The backend's lock guards
// it; whoever tells never waits for whoever listens.
type hub struct {
	// token makes a cursor of another hub unknown to this one.
	token string
	// ring holds the last told events; the event of number n lies at n modulo its
	// length once it is full.
	ring     []told
	capacity int
	// next is the number of the next event.
	next    uint64
	watches []*watch
}

// told is an event in the history.
type told struct {
	event resource.Event
	// was are the labels before the event, where they differ.
	was       resource.Labels
	relabeled bool
	// managed is false for what only the watch of that one instance is told.
	managed bool
	// times says how often it reaches the watches of a value, where that is not
	// once; nil where no fault asks.
	times map[*Provider]int
}

// emit tells that something happened to a resource. The backend is locked.
func (s *space) emit(r stored, typ resource.EventType, reason string) {
	s.emitRelabeled(r, typ, reason, nil, false)
}

// emitRelabeled is emit for a change of labels: was are those before it.
func (s *space) emitRelabeled(r stored, typ resource.EventType, reason string, was resource.Labels, relabeled bool) {
	o := r.meta()
	h := &s.hub
	t := told{was: was, relabeled: relabeled, managed: o.managed, event: resource.Event{
		Type: typ, Ref: o.ref(), State: r.stateText(), Reason: reason, Labels: o.labels, Time: time.Now(),
	}}
	if s.backend.eventFaults.Load() > 0 {
		t.times = s.backend.eventTimes(t.event)
	}
	number := h.next
	h.next++
	if len(h.ring) < h.capacity {
		h.ring = append(h.ring, t)
	} else {
		h.ring[number%uint64(h.capacity)] = t
	}
	for _, w := range h.watches {
		w.offer(number, &t)
	}
}

// cursor writes the place right behind the event of a number; before the first
// event there is -1.
func (h *hub) cursor(number uint64) resource.Cursor {
	return resource.Cursor(h.token + "." + strconv.FormatUint(number+1, 10))
}

// after reads a cursor: the number of the first event behind it, and false where
// the history does not reach back to it.
func (h *hub) after(c resource.Cursor) (uint64, bool) {
	token, text, ok := strings.Cut(string(c), ".")
	number, err := strconv.ParseUint(text, 10, 64)
	if !ok || err != nil || token != h.token || number > h.next || h.next-number > uint64(len(h.ring)) {
		return 0, false
	}
	return number, true
}

// at returns an event of the history.
func (h *hub) at(number uint64) *told {
	if len(h.ring) < h.capacity {
		return &h.ring[number]
	}
	return &h.ring[number%uint64(h.capacity)]
}

// watch is one range over a stream of events.
type watch struct {
	p        *Provider
	kinds    []resource.Kind
	names    []string
	id       string
	selector resource.Selector
	buffer   int

	// pending are the events that wait for the reader, and gap says why it missed
	// some; nil where it did not. The backend's lock guards both.
	pending []numbered
	gap     error
	// wake has room for one: the writer never waits.
	wake chan struct{}
}

// numbered is an event with its number, of which the cursor is made when it is
// read.
type numbered struct {
	number uint64
	event  resource.Event
}

// offer puts an event into the watch's buffer, as what it is to its reader.
func (w *watch) offer(number uint64, t *told) {
	if w.gap != nil {
		return
	}
	event, ok := w.view(t)
	if !ok {
		return
	}
	times, unusual := t.times[w.p]
	if !unusual {
		times = 1
	}
	for range times {
		if len(w.pending) >= w.buffer {
			w.miss(errSlow)
			return
		}
		w.pending = append(w.pending, numbered{number, event})
	}
	w.rouse()
}

// errSlow is why events were replaced by a Gap.
var errSlow = resource.Errorf(nil, "the reader was too slow")

// miss has the reader miss what waits for it, and all until it is told so.
func (w *watch) miss(why error) {
	w.pending, w.gap = nil, why
	w.rouse()
}

func (w *watch) rouse() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// view says what an event is to a watch: one whose selector a resource stops
// matching sees it deleted.
func (w *watch) view(t *told) (resource.Event, bool) {
	e := t.event
	if !w.covers(e.Ref, t.managed) {
		return e, false
	}
	if w.selector.IsZero() {
		return e, true
	}
	is := w.selector.Matches(e.Labels)
	was := is
	if t.relabeled {
		was = w.selector.Matches(t.was)
	}
	switch {
	case e.Type == resource.EventChanged && is && !was:
		e.Type = resource.EventAdded
	case e.Type == resource.EventChanged && was && !is:
		e.Type = resource.EventDeleted
	default:
		return e, is
	}
	return e, true
}

// covers reports whether the watch is about a resource, whatever its labels.
func (w *watch) covers(ref resource.Ref, managed bool) bool {
	return (managed || w.id != "") && (w.id == "" || w.id == ref.ID) &&
		(len(w.kinds) == 0 || slices.Contains(w.kinds, ref.Kind)) &&
		(len(w.names) == 0 || slices.Contains(w.names, ref.Name))
}
