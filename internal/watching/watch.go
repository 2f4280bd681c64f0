package watching

import (
	"context"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// Source is where a range gets its picture from.
type Source struct {
	// Refresh returns when the picture holds all that happened before the call. It
	// is called in front of what is there.
	Refresh func(ctx context.Context) error
	// Closed is closed with the provider, and Err is then the error of the range.
	Closed <-chan struct{}
	Err    func() error
	// Only limits the range to one resource, managed or not, and ends it when that
	// is gone.
	Only Key
}

// watch is one range over a stream of events.
type watch struct {
	kinds    []resource.Kind
	names    []string
	selector resource.Selector
	after    resource.Cursor
	limit    int
	only     Key
	wake     chan struct{}

	// The board's lock guards what follows.

	pending []pendingEvent
	// due says that what is there must be told when they have been read, because
	// of gap or, where that is nil, as the beginning. Until then nothing is added.
	due bool
	gap error

	// told is what the reader knows to be there. It is the reader's.
	told map[Key]*Subject
}

// pendingEvent is an event with what it says to be there; nil for nothing.
type pendingEvent struct {
	event resource.Event
	key   Key
	after *Subject
}

func newWatch(opts resource.WatchOptions, only Key) *watch {
	w := &watch{
		kinds: opts.Kinds, names: slices.Clone(opts.Names), selector: opts.Selector, after: opts.After, limit: opts.Buffer, only: only,
		wake: make(chan struct{}, 1),
		told: make(map[Key]*Subject),
	}
	if w.limit == 0 {
		w.limit = resource.DefaultWatchBuffer
	}
	for _, name := range opts.Names {
		// An image is found by a short form of its name, too.
		if full, err := compute.ParseImageReference(name); err == nil && full.String() != name {
			w.names = append(w.names, full.String())
		}
	}
	return w
}

// covers reports whether the watch is about a resource. None is nil.
func (w *watch) covers(s *Subject) bool {
	switch {
	case s == nil:
		return false
	case w.only != Key{}:
		return s.Key() == w.only
	}
	return s.Managed &&
		(len(w.kinds) == 0 || slices.Contains(w.kinds, s.Ref.Kind)) &&
		(len(w.names) == 0 || slices.ContainsFunc(s.Names, func(name string) bool { return slices.Contains(w.names, name) })) &&
		w.selector.Matches(s.Labels)
}

// view says what a change is to the watch: what begins to be covered is added,
// and what ceases to be is deleted.
func (w *watch) view(c *change, cursor resource.Cursor) (pendingEvent, bool) {
	was, is := w.covers(c.before), w.covers(c.after)
	now := c.after
	e := resource.Event{Reason: c.reason, Time: c.at, Cursor: cursor}
	switch {
	case was && is:
		e.Type = resource.EventChanged
	case is:
		e.Type = resource.EventAdded
	case was:
		e.Type = resource.EventDeleted
	default:
		return pendingEvent{}, false
	}
	if now == nil {
		now = c.before
	} else {
		e.State = now.State
	}
	e.Ref, e.Labels = now.Ref, now.Labels
	out := pendingEvent{event: e, key: now.Key()}
	if is {
		out.after = c.after
	}
	return out, true
}

// offer adds a change for the reader, or drops all that wait where there are too
// many. The board is locked.
func (w *watch) offer(c *change, cursor resource.Cursor) {
	if w.due {
		return
	}
	e, ok := w.view(c, cursor)
	if !ok {
		return
	}
	if len(w.pending) >= w.limit {
		w.pending = nil
		w.lose(resource.Errorf(errdefs.ErrResourceExhausted, "more than %d events waited for the reader", w.limit))
		return
	}
	w.pending = append(w.pending, e)
	w.rouse()
}

// lose says that events are missing behind those that wait. The board is locked.
func (w *watch) lose(why error) {
	w.due, w.gap = true, why
	w.rouse()
}

func (w *watch) rouse() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Range yields what is there, then changes, until the context ends, the provider
// is closed, or the loop is left, which is reported. It makes no call while it
// waits and yields.
func (b *Board) Range(ctx context.Context, source Source, opts resource.WatchOptions, yield func(resource.Event, error) bool) (left bool, err error) {
	if err := opts.Validate().Err(); err != nil {
		return false, err
	}
	w := newWatch(opts, source.Only)
	defer b.leave(w)
	if err := source.Refresh(ctx); err != nil {
		return false, err
	}
	switch ok, absent := b.join(w); {
	case absent:
		return false, resource.Errorf(errdefs.ErrNotFound, "no such %s", source.Only.Kind)
	case !ok:
		return false, resource.Errorf(errdefs.ErrUnavailable, "the stream of events is lost")
	}
	for {
		select {
		case <-source.Closed:
			return false, source.Err()
		default:
		}
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		next, what := b.take(w)
		switch what {
		case somethingToTell:
			if next.after == nil {
				delete(w.told, next.key)
			} else {
				w.told[next.key] = next.after
			}
			if !yield(next.event, nil) {
				return true, nil
			}
			if w.only != (Key{}) && next.after == nil {
				return false, nil
			}
		case everythingToTell, everythingAgain:
			if what == everythingAgain && source.Refresh(ctx) != nil {
				// The next connection brings what is there.
				w.await(ctx, source)
				continue
			}
			all, ok := b.snapshot(w)
			if !ok {
				w.await(ctx, source)
				continue
			}
			if !w.tell(all, yield) {
				return true, nil
			}
			if w.only != (Key{}) && len(w.told) == 0 {
				return false, nil
			}
		default:
			w.await(ctx, source)
		}
	}
}

// What there is for the reader of a watch.
const (
	nothingToTell = iota
	somethingToTell
	everythingToTell
	everythingAgain // behind a gap
)

// take returns the next event for the reader.
func (b *Board) take(w *watch) (next pendingEvent, what int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case len(w.pending) > 0:
		next = w.pending[0]
		w.pending[0] = pendingEvent{}
		w.pending = w.pending[1:]
		return next, somethingToTell
	case w.due && b.whole && w.gap == nil:
		return next, everythingToTell
	case w.due && b.whole:
		return next, everythingAgain
	}
	return next, nothingToTell
}

// snapshot is what is there for one watch, and where it goes on.
type snapshot struct {
	gap    error // nil at the beginning
	there  []*Subject
	cursor resource.Cursor
}

// snapshot takes what is due; false where the picture was lost meanwhile.
func (b *Board) snapshot(w *watch) (*snapshot, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.whole {
		return nil, false
	}
	all := &snapshot{gap: w.gap, there: b.covered(w), cursor: b.history.cursor(b.history.next)}
	w.due, w.gap = false, nil
	return all, true
}

// await waits until there may be something to read.
func (w *watch) await(ctx context.Context, source Source) {
	select {
	case <-w.wake:
	case <-ctx.Done():
	case <-source.Closed:
	}
}

// tell yields what is there, and what no longer is.
func (w *watch) tell(all *snapshot, yield func(resource.Event, error) bool) bool {
	now := time.Now().UTC()
	if all.gap != nil && !yield(resource.Event{Type: resource.EventGap, Time: now, Err: all.gap}, nil) {
		return false
	}
	vanished := w.told
	w.told = make(map[Key]*Subject, len(all.there))
	for _, s := range all.there {
		delete(vanished, s.Key())
		w.told[s.Key()] = s
		if !yield(resource.Event{Type: resource.EventAdded, Ref: s.Ref, State: s.State, Labels: s.Labels, Time: now}, nil) {
			return false
		}
	}
	for _, s := range sorted(vanished) {
		if !yield(resource.Event{Type: resource.EventDeleted, Ref: s.Ref, Labels: s.Labels, Time: now}, nil) {
			return false
		}
	}
	return yield(resource.Event{Type: resource.EventSynced, Time: now, Cursor: all.cursor}, nil)
}
