package fake

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// Watch yields what is there, then what happens.
func (p *Provider) Watch(ctx context.Context, opts resource.WatchOptions) iter.Seq2[resource.Event, error] {
	return func(yield func(resource.Event, error) bool) {
		if err := p.watch(ctx, opts, yield); err != nil {
			yield(resource.Event{}, resource.Fail(OpWatch.verb(), resource.Ref{Provider: Scheme, Namespace: p.space.name}, err))
		}
	}
}

// watch yields until the context is done, the value is closed or the reader
// leaves; then the error is nil.
func (p *Provider) watch(ctx context.Context, opts resource.WatchOptions, yield func(resource.Event, error) bool) error {
	if err := p.open(ctx); err != nil {
		return err
	}
	if err := opts.Validate().Err(); err != nil {
		return err
	}
	c, err := p.reach(ctx, OpWatch, target{ref: resource.Ref{Provider: Scheme, Namespace: p.space.name}})
	if err := c.done(err); err != nil {
		return err
	}
	w := &watch{
		p: p, kinds: slices.Clone(opts.Kinds), names: slices.Clone(opts.Names), selector: opts.Selector,
		buffer: opts.Buffer, wake: make(chan struct{}, 1),
	}
	r := reader{w: w, shown: make(map[string]resource.Ref), yield: yield}
	return r.run(ctx, opts.After)
}

var _ compute.Watcher = (*handle)(nil)

// Watch yields the instance, then what happens to it until it is deleted.
func (h *handle) Watch(ctx context.Context) iter.Seq2[resource.Event, error] {
	return func(yield func(resource.Event, error) bool) {
		err := h.look(ctx, OpWatch, func(*instance) error { return nil })
		if err != nil {
			yield(resource.Event{}, err)
			return
		}
		w := &watch{p: h.p, id: h.id, kinds: []resource.Kind{resource.KindInstance}, wake: make(chan struct{}, 1)}
		r := reader{w: w, shown: make(map[string]resource.Ref), yield: func(e resource.Event, err error) bool {
			return yield(e, err) && e.Type != resource.EventDeleted
		}}
		if err := r.run(ctx, ""); err != nil {
			yield(resource.Event{}, h.fail(OpWatch, err))
		}
	}
}

// reader is one range over a watch.
type reader struct {
	w     *watch
	yield func(resource.Event, error) bool
	// shown are the resources that the reader believes to be there, by kind and
	// ID.
	shown map[string]resource.Ref
}

// run yields what the watch says, until the reader leaves.
func (r *reader) run(ctx context.Context, after resource.Cursor) error {
	w := r.w
	p := w.p
	if w.buffer == 0 {
		w.buffer = resource.DefaultWatchBuffer
	}
	b, h := p.backend, &p.space.hub
	b.mu.Lock()
	var there []resource.Event
	var synced resource.Cursor
	known := false
	if after != "" {
		var first uint64
		if first, known = h.after(after); known {
			r.believe(first)
			for number := first; number < h.next && w.gap == nil; number++ {
				w.offer(number, h.at(number))
			}
		}
	}
	if !known {
		there, synced = p.space.present(w), h.cursor(h.next-1)
	}
	if w.id != "" && len(there) == 0 {
		b.mu.Unlock()
		return errNoInstance
	}
	h.watches = append(h.watches, w)
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		h.watches = slices.DeleteFunc(h.watches, func(other *watch) bool { return other == w })
		b.mu.Unlock()
	}()
	if !known {
		if after != "" && !r.tell(gap(errNoCursor)) {
			return nil
		}
		if !r.tellAll(there, synced) {
			return nil
		}
	}
	for {
		if err := p.open(ctx); err != nil {
			return err
		}
		b.mu.Lock()
		pending, missed := w.pending, w.gap
		w.pending, w.gap = nil, nil
		if missed != nil {
			there, synced = p.space.present(w), h.cursor(h.next-1)
		}
		b.mu.Unlock()
		for n, e := range pending {
			if n > 0 {
				if err := p.open(ctx); err != nil {
					return err
				}
			}
			e.event.Cursor = h.cursor(e.number)
			if !r.tell(e.event) {
				return nil
			}
		}
		if missed != nil && (!r.tell(gap(missed)) || !r.tellAll(there, synced)) {
			return nil
		}
		if missed != nil || len(pending) > 0 {
			continue
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return ctx.Err()
		case <-p.over:
			return errClosed
		}
	}
}

// believe sets what was there before the event of a number: what is there now, with
// all since then undone. The backend is locked.
func (r *reader) believe(first uint64) {
	h := &r.w.p.space.hub
	for _, e := range r.w.p.space.present(r.w) {
		r.shown[shownKey(e.Ref)] = e.Ref
	}
	for number := h.next; number > first; number-- {
		e, ok := r.w.view(h.at(number - 1))
		switch {
		case !ok:
		case e.Type == resource.EventAdded:
			delete(r.shown, shownKey(e.Ref))
		case e.Type == resource.EventDeleted:
			r.shown[shownKey(e.Ref)] = e.Ref
		}
	}
}

func shownKey(ref resource.Ref) string { return string(ref.Kind) + "/" + ref.ID }

// errNoCursor is why a watch does not continue where it was asked to.
var errNoCursor = resource.Errorf(nil, "the cursor is not known any more")

func gap(why error) resource.Event {
	return resource.Event{Type: resource.EventGap, Time: time.Now(), Err: why}
}

// tell yields an event, and keeps in mind what the reader believes.
func (r *reader) tell(e resource.Event) bool {
	key := shownKey(e.Ref)
	switch e.Type {
	case resource.EventAdded, resource.EventChanged:
		r.shown[key] = e.Ref
	case resource.EventDeleted:
		delete(r.shown, key)
	}
	return r.yield(e, nil)
}

// tellAll yields what is there as Added, what vanished as Deleted, and Synced.
func (r *reader) tellAll(there []resource.Event, synced resource.Cursor) bool {
	vanished := r.shown
	r.shown = make(map[string]resource.Ref, len(there))
	for _, e := range there {
		delete(vanished, shownKey(e.Ref))
		if !r.tell(e) {
			return false
		}
	}
	for _, ref := range sortedRefs(vanished) {
		if !r.tell(resource.Event{Type: resource.EventDeleted, Ref: ref, Time: time.Now()}) {
			return false
		}
	}
	return r.tell(resource.Event{Type: resource.EventSynced, Time: time.Now(), Cursor: synced})
}

// present lists what is there, as Added events for a watch. The backend is locked.
func (s *space) present(w *watch) []resource.Event {
	now := time.Now()
	var out []resource.Event
	for _, r := range s.records() {
		o := r.meta()
		if o.making || !w.covers(o.ref(), o.managed) || !w.selector.Matches(o.labels) {
			continue
		}
		out = append(out, resource.Event{
			Type: resource.EventAdded, Ref: o.ref(), State: r.stateText(), Labels: o.labels, Time: now,
		})
	}
	return out
}
