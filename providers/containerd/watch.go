package containerd

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

var (
	_ univirt.Provider = (*Provider)(nil)
	_ compute.Watcher  = (*instance)(nil)
)

// Watch implements univirt.Provider. All watches of a value share one stream of
// containerd's events. A cursor is known to the value that gave it, as long as
// the connection is not lost and for a minute after its last watch has ended.
func (p *Provider) Watch(ctx context.Context, opts resource.WatchOptions) iter.Seq2[resource.Event, error] {
	return func(yield func(resource.Event, error) bool) {
		if left, err := p.watch(ctx, newWatch(opts), yield); err != nil && !left {
			yield(resource.Event{}, resource.Fail("watch", p.ref("", "", ""), err))
		}
	}
}

// Watch implements compute.Watcher.
func (i *instance) Watch(ctx context.Context) iter.Seq2[resource.Event, error] {
	return func(yield func(resource.Event, error) bool) {
		w := newWatch(resource.WatchOptions{Kinds: []resource.Kind{resource.KindInstance}})
		w.id = i.id
		if left, err := i.p.watch(ctx, w, yield); err != nil && !left {
			yield(resource.Event{}, i.fail("watch", err))
		}
	}
}

// watch is one range over a stream of events.
type watch struct {
	kinds    []resource.Kind
	names    []string
	selector resource.Selector
	after    resource.Cursor
	limit    int
	// id limits the watch to one instance, managed or not, and ends it with that.
	id string
	// fault is what is wrong with the options.
	fault error

	// ready gets the outcome of the beginning, and wake is sent to when there is
	// something to read.
	ready chan error
	wake  chan struct{}

	// The hub's lock guards what follows.

	// pending are the events that wait for the reader.
	pending []pendingEvent
	// due says that what is there must be told when they have been read, because
	// of gap or, where that is nil, as the beginning. Until then nothing is added.
	due bool
	gap error
	// asked says that the watch has begun, and waits for what is there after a gap
	// to be read again; answered, that it was.
	asked, answered bool
	// left says that nobody reads any more.
	left bool

	// told is what the reader knows to be there. It is the reader's, once the
	// watch has begun.
	told map[subjectKey]*subject
}

// pendingEvent is an event with what it says to be there; nil for nothing.
type pendingEvent struct {
	event resource.Event
	key   subjectKey
	after *subject
}

func newWatch(opts resource.WatchOptions) *watch {
	w := &watch{
		kinds: opts.Kinds, selector: opts.Selector, after: opts.After, limit: opts.Buffer, fault: opts.Validate().Err(),
		ready: make(chan error, 1),
		wake:  make(chan struct{}, 1),
		told:  make(map[subjectKey]*subject),
	}
	if w.limit == 0 {
		w.limit = resource.DefaultWatchBuffer
	}
	w.names = slices.Clone(opts.Names)
	for _, name := range opts.Names {
		// An image is found by a short form of its name, too.
		if full, err := compute.ParseImageReference(name); err == nil && full.String() != name {
			w.names = append(w.names, full.String())
		}
	}
	return w
}

// covers reports whether the watch is about a resource. None is nil.
func (w *watch) covers(s *subject) bool {
	switch {
	case s == nil:
		return false
	case w.id != "":
		return s.ref.Kind == resource.KindInstance && s.ref.ID == w.id
	}
	return s.managed &&
		(len(w.kinds) == 0 || slices.Contains(w.kinds, s.ref.Kind)) &&
		(len(w.names) == 0 || slices.ContainsFunc(s.names, func(name string) bool { return slices.Contains(w.names, name) })) &&
		w.selector.Matches(s.labels)
}

// view says what a change is to the watch: what begins to be covered is added,
// and what ceases to be is deleted.
func (w *watch) view(c *change, cursor resource.Cursor) (pendingEvent, bool) {
	was, is := w.covers(c.before), w.covers(c.after)
	now := c.after
	e := resource.Event{Reason: c.reason, Time: c.time, Cursor: cursor}
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
		e.State = string(now.state)
	}
	e.Ref, e.Labels = now.ref, now.labels
	out := pendingEvent{event: e, key: now.key()}
	if is {
		out.after = c.after
	}
	return out, true
}

// offer adds a change for the reader, or drops all that wait where there are too
// many. The hub is locked.
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

// lose says that events are missing behind those that wait. The hub is locked.
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

// watch yields the events of a watch, until it ends or the loop is left. It does
// not count as a call while it waits and yields, so that Close may be called
// from within the loop.
func (p *Provider) watch(ctx context.Context, w *watch, yield func(resource.Event, error) bool) (left bool, err error) {
	begun, done, err := p.begin(ctx)
	if err != nil {
		return false, err
	}
	if err = w.fault; err == nil {
		err = p.events.attach(begun, p, w)
	}
	done()
	if err != nil {
		if p.alive.Err() != nil {
			err = errClosed()
		}
		return false, err
	}
	defer p.events.detach(w)
	for {
		switch {
		case p.alive.Err() != nil:
			return false, errClosed()
		case ctx.Err() != nil:
			return false, ctx.Err()
		}
		next, all, ok := p.events.take(w)
		switch {
		case all != nil && all.stale:
			// What was written before the gap is told must be among what is there. An
			// error leaves the watch waiting for the next connection.
			if p.events.ask(ctx, p, w) == nil {
				continue
			}
			w.await(ctx, p)
		case all != nil:
			if !w.tell(all, yield) {
				return true, nil
			}
			if w.id != "" && len(w.told) == 0 {
				return false, nil
			}
		case ok:
			if next.after == nil {
				delete(w.told, next.key)
			} else {
				w.told[next.key] = next.after
			}
			if !yield(next.event, nil) {
				return true, nil
			}
			if w.id != "" && next.after == nil {
				return false, nil
			}
		default:
			w.await(ctx, p)
		}
	}
}

// await waits until there may be something to read.
func (w *watch) await(ctx context.Context, p *Provider) {
	select {
	case <-w.wake:
	case <-ctx.Done():
	case <-p.alive.Done():
	}
}

// tell yields what is there, and what no longer is.
func (w *watch) tell(all *snapshot, yield func(resource.Event, error) bool) bool {
	now := time.Now().UTC()
	if all.gap != nil && !yield(resource.Event{Type: resource.EventGap, Time: now, Err: all.gap}, nil) {
		return false
	}
	vanished := w.told
	w.told = make(map[subjectKey]*subject, len(all.there))
	for _, s := range all.there {
		delete(vanished, s.key())
		w.told[s.key()] = s
		if !yield(resource.Event{Type: resource.EventAdded, Ref: s.ref, State: string(s.state), Labels: s.labels, Time: now}, nil) {
			return false
		}
	}
	for _, s := range sortedSubjects(vanished) {
		if !yield(resource.Event{Type: resource.EventDeleted, Ref: s.ref, Labels: s.labels, Time: now}, nil) {
			return false
		}
	}
	return yield(resource.Event{Type: resource.EventSynced, Time: now, Cursor: all.cursor}, nil)
}
