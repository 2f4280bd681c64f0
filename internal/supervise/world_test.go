package supervise

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// world is a backend in memory, within a bubble of time.
type world struct {
	t     *testing.T
	began time.Time

	mu      sync.Mutex
	all     map[string]*Status
	watches map[chan resource.Event]struct{}
	// starts are the times of restarts, since the beginning, and looks and checks count.
	starts        []time.Duration
	looks, checks int
	// check is the outcome of probes, and restartErr, noteErr and watchErr are what fails.
	check                         func(ctx context.Context, probe compute.Probe) error
	restartErr, noteErr, watchErr error
	// slow is how long a restart takes, under is how many are under way, and most how
	// many there were at the same time.
	slow time.Duration
	// late is how much later than anybody else whoever restarts is told.
	late        time.Duration
	under, most int
	// ran, where there is one, is told of each run.
	ran func(id string)
}

// inWorld runs a test in a world without any supervisor.
func inWorld(t *testing.T, test func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		test(&world{t: t, began: time.Now(), all: map[string]*Status{}, watches: map[chan resource.Event]struct{}{}})
	})
}

// supervised runs a test with a supervisor, which must be gone afterwards.
func supervised(t *testing.T, test func(w *world)) {
	inWorld(t, func(w *world) {
		defer w.supervise()()
		synctest.Wait()
		test(w)
	})
}

// supervise begins to, and returns what ends it.
func (w *world) supervise() (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() {
		defer close(over)
		Run(ctx, w, slog.New(slog.DiscardHandler))
	}()
	return func() { cancel(); <-over }
}

// pass lets time pass, and what is due happen.
func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// change changes an instance and tells of it.
func (w *world) change(id, reason string, do func(*Status)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.all[id]
	do(s)
	w.tell(resource.Event{Type: resource.EventChanged, Ref: resource.Ref{ID: id}, Reason: reason, State: string(s.State)})
}

func (w *world) tell(e resource.Event) {
	for c := range w.watches {
		c <- e
	}
}

// make makes an instance that has never run.
func (w *world) make(s Status) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.ID = "i" + strconv.Itoa(len(w.all))
	if s.State == "" {
		s.State = compute.Stopped
	}
	w.all[s.ID] = &s
	w.tell(resource.Event{Type: resource.EventAdded, Ref: resource.Ref{ID: s.ID}})
	return s.ID
}

func (s *Status) begin(restarts int) {
	n, _ := strconv.Atoi(s.Run)
	s.State, s.Run, s.Restarts, s.Started, s.Exit, s.Again, s.Found = compute.Running, strconv.Itoa(n+1), restarts, time.Now(), nil, false, Findings{}
}

// start is what a caller does.
func (w *world) start(id string) {
	w.change(id, resource.ReasonStart, func(s *Status) {
		s.begin(0)
		if w.ran != nil {
			w.ran(id)
		}
	})
	synctest.Wait()
}

// end ends a run by itself.
func (w *world) end(id string, code int) {
	w.ended(id, code)
	synctest.Wait()
}

func (w *world) ended(id string, code int) {
	w.change(id, resource.ReasonExit, func(s *Status) {
		s.State, s.Exit = compute.Stopped, &compute.Exit{Run: s.Run, Known: true, Code: code, Started: s.Started, Finished: time.Now()}
		s.Again = Wants(s.Policy, *s.Exit)
	})
}

// stop is what a caller does, of what runs and of what waits.
func (w *world) stop(id string) {
	w.change(id, resource.ReasonExit, func(s *Status) {
		s.State, s.Again = compute.Stopped, false
		if s.Exit == nil {
			s.Exit = &compute.Exit{Run: s.Run, Known: true, Started: s.Started, Finished: time.Now()}
		}
	})
	synctest.Wait()
}

func (w *world) get(id string) Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	return *w.all[id]
}

// began says at which times runs have begun again so far.
func (w *world) begun() []time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.starts
	w.starts = nil
	return out
}

func (w *world) Watch(ctx context.Context) iter.Seq2[resource.Event, error] {
	return func(yield func(resource.Event, error) bool) {
		c := make(chan resource.Event, 1000)
		w.mu.Lock()
		if err := w.watchErr; err != nil {
			w.watchErr = nil
			w.mu.Unlock()
			yield(resource.Event{}, err)
			return
		}
		for id := range w.all {
			c <- resource.Event{Type: resource.EventAdded, Ref: resource.Ref{ID: id}}
		}
		c <- resource.Event{Type: resource.EventSynced}
		w.watches[c] = struct{}{}
		w.mu.Unlock()
		defer func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			delete(w.watches, c)
		}()
		for {
			select {
			case e := <-c:
				if !yield(e, nil) {
					return
				}
			case <-ctx.Done():
				yield(resource.Event{}, ctx.Err())
				return
			}
		}
	}
}

func (w *world) All(context.Context) ([]Status, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []Status
	for _, s := range w.all {
		all = append(all, *s)
	}
	return all, nil
}

var errNone = resource.Errorf(errdefs.ErrNotFound, "no such instance")

func (w *world) Look(_ context.Context, id string) (Status, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looks++
	if s := w.all[id]; s != nil {
		return *s, nil
	}
	return Status{}, errNone
}

func (w *world) Restart(_ context.Context, id string, due func(Status) (int, bool)) error {
	w.mu.Lock()
	w.under++
	w.most = max(w.most, w.under)
	w.mu.Unlock()
	time.Sleep(w.slow)
	defer time.Sleep(w.late)
	w.mu.Lock()
	w.under--
	defer w.mu.Unlock()
	s := w.all[id]
	if s == nil {
		return errNone
	}
	restarts, ok := due(*s)
	if !ok {
		return nil
	}
	w.starts = append(w.starts, time.Since(w.began))
	if w.restartErr != nil {
		return w.restartErr
	}
	s.begin(restarts)
	if w.ran != nil {
		w.ran(id)
	}
	w.tell(resource.Event{Type: resource.EventChanged, Ref: resource.Ref{ID: id}, Reason: resource.ReasonStart})
	return nil
}

func (w *world) Check(ctx context.Context, id string, probe compute.Probe, _ []network.Port) error {
	w.mu.Lock()
	w.checks++
	check := w.check
	assert.Equal(w.t, compute.Running, w.all[id].State, "what is checked")
	w.mu.Unlock()
	if check == nil {
		return errors.New("ill")
	}
	return check(ctx, probe)
}

func (w *world) Note(_ context.Context, id, run string, resets int, found Findings) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.noteErr != nil {
		return w.noteErr
	}
	s := w.all[id]
	assert.Equal(w.t, run, s.Run)
	assert.Equal(w.t, resets, s.Resets)
	s.Found = found
	w.tell(resource.Event{Type: resource.EventChanged, Ref: resource.Ref{ID: id}, Reason: resource.ReasonHealth})
	return nil
}
