package watching

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"

	"github.com/univirt/univirt/resource"
)

// historySize is how many changes are kept for watches that continue.
const historySize = 4096

// Board holds the picture and hands its changes to all watches. The zero value
// is ready; its methods may be called concurrently.
type Board struct {
	mu      sync.Mutex
	picture Picture
	// whole says that the picture is kept true.
	whole   bool
	watches map[*watch]struct{}
	waits   map[Key]map[chan struct{}]struct{}
	history history
}

// Change changes the picture, which is whole from then on. The function must not
// block.
func (b *Board) Change(do func(*Picture)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.picture.subjects == nil {
		b.picture = Picture{subjects: map[Key]*Subject{}, tell: b.told}
	}
	do(&b.picture)
	if !b.whole {
		b.whole = true
		for w := range b.watches {
			w.rouse()
		}
		b.notifyAll()
	}
}

// Lose says that changes may be missing from now on, until the next Change. All
// watches are told of the gap.
func (b *Board) Lose(why error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.whole {
		return
	}
	b.whole = false
	b.history = history{}
	for w := range b.watches {
		w.lose(why)
	}
	b.notifyAll()
}

// Await returns a channel that is sent to whenever something of a resource has
// changed, or may have. Stop ends that.
func (b *Board) Await(key Key) (changed <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waits == nil {
		b.waits = map[Key]map[chan struct{}]struct{}{}
	}
	if b.waits[key] == nil {
		b.waits[key] = map[chan struct{}]struct{}{}
	}
	b.waits[key][c] = struct{}{}
	return c, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.waits[key], c)
		if len(b.waits[key]) == 0 {
			delete(b.waits, key)
		}
	}
}

// Until returns when the picture of a resource is as wanted, or the context ends;
// at once where nobody has ever watched. The subject is nil for what is not there.
func (b *Board) Until(ctx context.Context, key Key, wanted func(*Subject) bool) {
	changed, stop := b.Await(key)
	defer stop()
	for {
		b.mu.Lock()
		done := b.watches == nil || !b.whole || wanted(b.picture.subjects[key])
		b.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// Notify has those look again who wait for something of a resource.
func (b *Board) Notify(key Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.notify(key)
}

func (b *Board) notify(key Key) {
	for c := range b.waits[key] {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

func (b *Board) notifyAll() {
	for key := range b.waits {
		b.notify(key)
	}
}

// told hands a change to the watches and notes it. The board is locked.
func (b *Board) told(c change) {
	b.history.add(c)
	cursor := b.history.cursor(b.history.next)
	for w := range b.watches {
		w.offer(&c, cursor)
	}
	of := c.after
	if of == nil {
		of = c.before
	}
	b.notify(of.Key())
}

// covered lists what a watch is about. The board is locked.
func (b *Board) covered(w *watch) []*Subject {
	all := make(map[Key]*Subject)
	for key, s := range b.picture.subjects {
		if w.covers(s) {
			all[key] = s
		}
	}
	return sorted(all)
}

// join lets a watch begin; false where the picture is not whole. A single
// resource that is not there is reported as absent.
func (b *Board) join(w *watch) (ok, absent bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.whole {
		return false, false
	}
	if w.only != (Key{}) && b.picture.subjects[w.only] == nil {
		return true, true
	}
	from, known := b.history.from(w.after)
	switch {
	case w.after == "":
		w.due = true
	case !known:
		w.lose(errors.New("the place to continue from is not known any more"))
	default:
		for _, s := range b.covered(w) {
			w.told[s.Key()] = s
		}
		for n := from; n < b.history.next; n++ {
			c := b.history.at(n)
			if e, ok := w.view(c, ""); ok && e.after == nil && w.told[e.key] == nil {
				w.told[e.key] = c.before
			}
			w.offer(c, b.history.cursor(n+1))
		}
	}
	if b.watches == nil {
		b.watches = map[*watch]struct{}{}
	}
	b.watches[w] = struct{}{}
	return true, false
}

func (b *Board) leave(w *watch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.watches, w)
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
