package containerd

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/resource"
)

const (
	// historySize is how many changes are kept for watches that continue.
	historySize = 4096
	// idleTime is how long the stream is read on behalf of nobody, for whoever
	// continues.
	idleTime = time.Minute
)

// eventHub has a value's one subscription to containerd's events, and hands what
// it says to all watches. Its goroutine runs while somebody listens. The zero
// value is ready.
type eventHub struct {
	mu      sync.Mutex
	over    sync.WaitGroup
	running bool
	// closed says that the goroutine must not start any more.
	closed bool
	// poke wakes the goroutine when somebody waits.
	poke chan struct{}

	watches map[*watch]struct{}
	// waiting are the watches that have not begun.
	waiting []*watch
	// hooks are told of exits.
	hooks map[int]func(id string)
	hook  int
	// idle is since when nobody listens.
	idle time.Time

	// picture is nil where nothing is known.
	picture *picture
	history history
}

// history holds the last changes that were told.
type history struct {
	// token makes a cursor of another history unknown to this one.
	token string
	ring  []change
	// next is the number of the next change.
	next uint64
}

func (h *history) add(c change) {
	if h.token == "" {
		h.token = resource.NewID()
	}
	if len(h.ring) < historySize {
		h.ring = append(h.ring, c)
	} else {
		h.ring[h.next%historySize] = c
	}
	h.next++
}

// cursor writes the place in front of a change.
func (h *history) cursor(number uint64) resource.Cursor {
	if h.token == "" {
		h.token = resource.NewID()
	}
	return resource.Cursor(h.token + "." + strconv.FormatUint(number, 10))
}

// from reads a cursor: the number of the change behind it, and false where the
// history does not reach back to it.
func (h *history) from(c resource.Cursor) (uint64, bool) {
	token, text, ok := strings.Cut(string(c), ".")
	number, err := strconv.ParseUint(text, 10, 64)
	if !ok || err != nil || token == "" || token != h.token || number > h.next || h.next-number > uint64(len(h.ring)) {
		return 0, false
	}
	return number, true
}

func (h *history) at(number uint64) *change { return &h.ring[number%historySize] }

// snapshot is what is there for one watch.
type snapshot struct {
	// stale says that it must be read first, and nothing else.
	stale  bool
	gap    error // nil at the beginning
	there  []*subject
	cursor resource.Cursor
}

// attach waits until the watch has begun: all that happened before is in what it
// will be told. The error is NotFound where it is about an instance that is not
// there, and Unavailable where there is no stream of events.
func (h *eventHub) attach(ctx context.Context, p *Provider, w *watch) error {
	h.mu.Lock()
	h.waiting = append(h.waiting, w)
	h.run(p)
	h.mu.Unlock()
	select {
	case err := <-w.ready:
		return err
	case <-ctx.Done():
		h.detach(w)
		return ended(ctx)
	}
}

// ask waits until all is known that happened before, for a watch that has begun.
func (h *eventHub) ask(ctx context.Context, p *Provider, w *watch) error {
	h.mu.Lock()
	w.asked = true
	h.waiting = append(h.waiting, w)
	h.run(p)
	h.mu.Unlock()
	select {
	case err := <-w.ready:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-p.alive.Done():
		return context.Canceled
	}
}

// run starts the goroutine where it does not run, and wakes it. The hub is
// locked.
func (h *eventHub) run(p *Provider) {
	if h.poke == nil {
		h.poke = make(chan struct{}, 1)
		h.watches = make(map[*watch]struct{})
		h.hooks = make(map[int]func(string))
	}
	h.idle = time.Now()
	if !h.running && !h.closed {
		h.running = true
		h.over.Go(func() { h.listen(p) })
	}
	select {
	case h.poke <- struct{}{}:
	default:
	}
}

func (h *eventHub) detach(w *watch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w.left = true
	delete(h.watches, w)
	h.waiting = slices.DeleteFunc(h.waiting, func(other *watch) bool { return other == w })
	if len(h.watches) == 0 {
		h.idle = time.Now()
	}
}

// take returns the next event for the reader of a watch, or all that is there
// where that is due; neither where the reader must wait.
func (h *eventHub) take(w *watch) (next pendingEvent, all *snapshot, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case len(w.pending) > 0:
		next = w.pending[0]
		w.pending[0] = pendingEvent{}
		w.pending = w.pending[1:]
		return next, nil, true
	case w.due && w.gap != nil && !w.answered:
		return next, &snapshot{stale: true}, false
	case w.due && h.picture != nil:
		all = &snapshot{gap: w.gap, there: h.picture.covered(w), cursor: h.history.cursor(h.history.next)}
		w.due, w.gap, w.answered = false, nil, false
		return next, all, false
	}
	return next, nil, false
}

// covered lists what a watch is about.
func (p *picture) covered(w *watch) []*subject {
	all := make(map[subjectKey]*subject)
	add := func(s *subject) {
		if w.covers(s) {
			all[s.key()] = s
		}
	}
	if w.id != "" {
		if i := p.instances[w.id]; i != nil {
			add(i.subject)
		}
	} else {
		for _, i := range p.instances {
			add(i.subject)
		}
		for _, s := range p.images {
			add(s)
		}
	}
	return sortedSubjects(all)
}

// told hands a change to the watches and notes it. The hub is locked: the
// picture is changed under its lock only.
func (h *eventHub) told(c change) {
	h.history.add(c)
	cursor := h.history.cursor(h.history.next)
	for w := range h.watches {
		w.offer(&c, cursor)
	}
}

// begin lets a watch begin, now that the picture holds all that happened before.
// The hub is locked.
func (h *eventHub) begin(w *watch) {
	switch {
	case w.left:
		return
	case w.asked:
		w.answered = true
		w.ready <- nil
		return
	}
	if w.id != "" && h.picture.instances[w.id] == nil {
		w.ready <- resource.Errorf(errdefs.ErrNotFound, "no such instance")
		return
	}
	from, known := h.history.from(w.after)
	switch {
	case w.after == "":
		w.due = true
	case !known:
		w.lose(errors.New("the place to continue from is not known any more"))
	default:
		for _, s := range h.picture.covered(w) {
			w.told[s.key()] = s
		}
		for n := from; n < h.history.next; n++ {
			c := h.history.at(n)
			if e, ok := w.view(c, ""); ok && e.after == nil && w.told[e.key] == nil {
				w.told[e.key] = c.before
			}
			w.offer(c, h.history.cursor(n+1))
		}
	}
	h.watches[w] = struct{}{}
	w.ready <- nil
}

// ran notes the last run of an instance that is about to be deleted.
func (h *eventHub) ran(id string, last pastRun) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.picture != nil && last.pid != 0 {
		h.picture.last[id] = last
	}
}

// onExit registers a function that is called with the ID of each container whose
// main process has ended, and with "" whenever exits may have been missed. It is
// called by the hub's goroutine and must not block. The function that is returned
// ends that.
func (h *eventHub) onExit(p *Provider, f func(id string)) (stop func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.run(p)
	h.hook++
	mine := h.hook
	h.hooks[mine] = f
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.hooks, mine)
		h.idle = time.Now()
	}
}

func (h *eventHub) exited(id string) {
	h.mu.Lock()
	all := make([]func(string), 0, len(h.hooks))
	for _, f := range h.hooks {
		all = append(all, f)
	}
	h.mu.Unlock()
	for _, f := range all {
		f(id)
	}
}

// close waits for the goroutine, which ends with the provider.
func (h *eventHub) close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.over.Wait()
}
