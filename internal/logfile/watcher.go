package logfile

import (
	"os"
	"sync"
)

// Watcher lets any number of followers share one inotify instance, of which a
// user has 128 by default. The zero value is ready, holds nothing while nobody
// follows, and needs no closing. It must not be copied.
type Watcher struct {
	mu      sync.Mutex
	inotify *os.File              // nil while nobody follows
	ended   chan struct{}         // closed when inotify is read no longer
	dirs    map[int32]subscribers // by watch descriptor
}

type subscribers map[*subscription]struct{}

// subscription gets a token when something has happened in a folder since it
// took the last one.
type subscription struct {
	changed chan struct{}
	watch   int32
}

func (s subscribers) wake() {
	for sub := range s {
		select {
		case sub.changed <- struct{}{}:
		default:
		}
	}
}

// subscribe watches the folder; events from before it returns may be missed.
func (w *Watcher) subscribe(dir string) (*subscription, error) {
	w.mu.Lock()
	if w.inotify == nil {
		inotify, err := openInotify()
		if err != nil {
			w.mu.Unlock()
			return nil, err
		}
		w.inotify, w.ended = inotify, make(chan struct{})
		w.dirs = make(map[int32]subscribers)
		go w.run(inotify, w.ended)
	}
	watch, err := addWatch(w.inotify, dir)
	if err != nil {
		w.unlock()
		return nil, err
	}
	sub := &subscription{changed: make(chan struct{}, 1), watch: watch}
	if w.dirs[watch] == nil {
		w.dirs[watch] = make(subscribers)
	}
	w.dirs[watch][sub] = struct{}{}
	w.mu.Unlock()
	return sub, nil
}

func (w *Watcher) unsubscribe(sub *subscription) {
	w.mu.Lock()
	subs := w.dirs[sub.watch]
	delete(subs, sub)
	if len(subs) == 0 {
		delete(w.dirs, sub.watch)
		removeWatch(w.inotify, sub.watch)
	}
	w.unlock()
}

// unlock ends the inotify instance and its goroutine when nobody follows.
func (w *Watcher) unlock() {
	var ended <-chan struct{}
	if len(w.dirs) == 0 {
		_ = w.inotify.Close()
		w.inotify, ended = nil, w.ended
	}
	w.mu.Unlock()
	if ended != nil {
		<-ended
	}
}

// run wakes followers until the inotify instance is closed.
func (w *Watcher) run(inotify *os.File, ended chan<- struct{}) {
	defer close(ended)
	readEvents(inotify, func(watch int32, all bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.inotify != inotify {
			return
		}
		if all {
			for _, subs := range w.dirs {
				subs.wake()
			}
		} else {
			w.dirs[watch].wake()
		}
	})
}

// Changes returns a channel that is sent to when something in a folder may have
// changed, until stop is called.
func (w *Watcher) Changes(dir string) (changed <-chan struct{}, stop func(), err error) {
	sub, err := w.subscribe(dir)
	if err != nil {
		return nil, nil, err
	}
	return sub.changed, sync.OnceFunc(func() { w.unsubscribe(sub) }), nil
}
