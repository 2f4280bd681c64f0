package supervise

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

const ms = time.Millisecond

// TestRowsOfRestarts has each run of an instance last for a while.
func TestRowsOfRestarts(t *testing.T) {
	always, onFailure := compute.RestartAlways, compute.RestartOnFailure
	for _, c := range []struct {
		name   string
		policy compute.RestartPolicy
		lasts  time.Duration
		code   int
		within time.Duration
		want   []time.Duration
	}{
		{"no policy", compute.RestartPolicy{}, 0, 3, time.Hour, nil},
		{"never", compute.RestartPolicy{Mode: compute.RestartNever}, 0, 3, time.Hour, nil},
		{"success is no failure", compute.RestartPolicy{Mode: onFailure}, 0, 0, time.Hour, nil},
		{"failure", compute.RestartPolicy{Mode: onFailure}, 0, 3, time.Second, []time.Duration{100 * ms, 300 * ms, 700 * ms}},
		{"always", compute.RestartPolicy{Mode: always}, 0, 0, time.Second, []time.Duration{100 * ms, 300 * ms, 700 * ms}},
		{"the wait is counted from the end", compute.RestartPolicy{Mode: always, Backoff: time.Second}, 2 * time.Second, 0, 10 * time.Second, []time.Duration{3 * time.Second, 7 * time.Second}},
		{"the wait is bounded", compute.RestartPolicy{Mode: always, Backoff: 4 * time.Minute}, 0, 0, 15 * time.Minute, []time.Duration{4 * time.Minute, 9 * time.Minute, 14 * time.Minute}},
		{"a wait of one's own is not", compute.RestartPolicy{Mode: always, Backoff: time.Hour}, 0, 0, 3 * time.Hour, []time.Duration{time.Hour, 2 * time.Hour, 3 * time.Hour}},
		{"bounded", compute.RestartPolicy{Mode: always, MaxRetries: 2}, 0, 0, time.Hour, []time.Duration{100 * ms, 300 * ms}},
		{"a steady run ends the row", compute.RestartPolicy{Mode: always, MaxRetries: 1, Backoff: time.Second}, steady, 0, 35 * time.Second, []time.Duration{11 * time.Second, 22 * time.Second, 33 * time.Second}},
		{"an almost steady one does not", compute.RestartPolicy{Mode: always, MaxRetries: 1, Backoff: time.Second}, steady - ms, 0, time.Hour, []time.Duration{11*time.Second - ms}},
	} {
		t.Run(c.name, func(t *testing.T) {
			supervised(t, func(w *world) {
				w.ran = func(id string) { time.AfterFunc(c.lasts, func() { w.ended(id, c.code) }) }
				w.start(w.make(Status{Policy: c.policy}))
				w.pass(c.within)
				assert.Equal(t, c.want, w.begun())
			})
		})
	}
}

func TestARunThatIsOverBeforeItsRestartIs(t *testing.T) {
	supervised(t, func(w *world) {
		w.late = ms
		w.ran = func(id string) { time.AfterFunc(0, func() { w.ended(id, 1) }) }
		w.start(w.make(Status{Policy: always}))
		w.pass(10 * time.Second)
		assert.Equal(t, []time.Duration{time.Second, 3 * time.Second, 7 * time.Second}, w.begun())
	})
}

var always = compute.RestartPolicy{Mode: compute.RestartAlways, Backoff: time.Second}

func TestAStopAndAStartTakeBackWhatIsDue(t *testing.T) {
	supervised(t, func(w *world) {
		id := w.make(Status{Policy: always})
		w.pass(time.Hour)
		assert.Empty(t, w.begun(), "it has never run")
		w.start(id)
		w.stop(id)
		w.pass(time.Hour)
		assert.Empty(t, w.begun(), "of what runs")
		w.start(id)
		w.end(id, 0)
		w.pass(time.Second - ms)
		w.stop(id)
		w.pass(time.Hour)
		assert.Empty(t, w.begun(), "of what waits")
		w.start(id)
		w.end(id, 0)
		w.start(id)
		w.pass(time.Hour)
		assert.Empty(t, w.begun(), "it runs")
		w.end(id, 0)
		w.pass(time.Second)
		assert.Len(t, w.begun(), 1)
	})
}

func TestAStartBeginsANewRow(t *testing.T) {
	supervised(t, func(w *world) {
		id := w.make(Status{Policy: compute.RestartPolicy{Mode: compute.RestartAlways, Backoff: time.Second, MaxRetries: 1}})
		for range 2 {
			w.start(id)
			w.end(id, 0)
			w.pass(time.Second)
			assert.Len(t, w.begun(), 1)
			assert.Equal(t, 1, w.get(id).Restarts)
			w.end(id, 0)
			w.pass(time.Hour)
			assert.Empty(t, w.begun())
		}
	})
}

func TestWhatIsDeletedIsNotStarted(t *testing.T) {
	supervised(t, func(w *world) {
		id := w.make(Status{Policy: always})
		w.start(id)
		w.end(id, 0)
		w.mu.Lock()
		delete(w.all, id)
		w.tell(resource.Event{Type: resource.EventDeleted, Ref: resource.Ref{ID: id}})
		w.mu.Unlock()
		w.pass(time.Hour)
		assert.Empty(t, w.begun())
	})
}

func TestAPolicyThatIsTakenBackHoldsForWhatWaits(t *testing.T) {
	for _, told := range []bool{true, false} {
		supervised(t, func(w *world) {
			id := w.make(Status{Policy: always})
			w.start(id)
			w.end(id, 0)
			never := func(s *Status) { s.Policy = compute.RestartPolicy{} }
			if told {
				w.change(id, resource.ReasonUpdate, never)
			} else {
				// The event is slower than the timer.
				w.mu.Lock()
				never(w.all[id])
				w.mu.Unlock()
			}
			w.pass(time.Hour)
			assert.Empty(t, w.begun())
			w.start(id)
			w.change(id, resource.ReasonUpdate, func(s *Status) { s.Policy = always })
			w.end(id, 0)
			w.pass(time.Second)
			assert.Len(t, w.begun(), 1)
		})
	}
}

func TestAPolicyThatIsGivenLaterDoesNotHoldForWhatIsOver(t *testing.T) {
	supervised(t, func(w *world) {
		id := w.make(Status{})
		w.start(id)
		w.end(id, 0)
		w.change(id, resource.ReasonUpdate, func(s *Status) { s.Policy = always })
		w.pass(time.Hour)
		assert.Empty(t, w.begun())
	})
}

func TestWhatCannotBeginIsTriedLater(t *testing.T) {
	supervised(t, func(w *world) {
		id := w.make(Status{Policy: compute.RestartPolicy{Mode: compute.RestartAlways, Backoff: time.Second, MaxRetries: 4}})
		w.restartErr = errors.New("no memory")
		w.start(id)
		w.end(id, 0)
		w.pass(3 * time.Second)
		assert.Equal(t, []time.Duration{time.Second, 3 * time.Second}, w.begun())
		w.mu.Lock()
		w.restartErr = nil
		w.mu.Unlock()
		w.pass(4 * time.Second)
		assert.Equal(t, []time.Duration{7 * time.Second}, w.begun())
		assert.Equal(t, 3, w.get(id).Restarts, "those that failed count")
		w.end(id, 0)
		w.pass(time.Hour)
		assert.Equal(t, []time.Duration{15 * time.Second}, w.begun())
	})
}

func TestWhatMayNotBeginIsLeftAlone(t *testing.T) {
	supervised(t, func(w *world) {
		id := w.make(Status{Policy: always})
		w.restartErr = resource.Errorf(errdefs.ErrFailedPrecondition, "not now")
		w.start(id)
		w.end(id, 0)
		w.pass(time.Hour)
		assert.Len(t, w.begun(), 1)
		w.change(id, resource.ReasonUpdate, func(*Status) {})
		w.pass(time.Hour)
		assert.Empty(t, w.begun())
	})
}

// TestASupervisorTakesOver has each of two supervisors see a part of a row.
func TestASupervisorTakesOver(t *testing.T) {
	inWorld(t, func(w *world) {
		policy := compute.RestartPolicy{Mode: compute.RestartAlways, Backoff: time.Second, MaxRetries: 2}
		end := w.supervise()
		synctest.Wait()
		id, stopped := w.make(Status{Policy: policy}), w.make(Status{Policy: policy})
		w.start(id)
		w.start(stopped)
		w.end(id, 0)
		w.end(stopped, 0)
		w.pass(time.Second / 2)
		end()
		w.stop(stopped)
		w.pass(time.Hour)
		assert.Empty(t, w.begun(), "nobody supervises")
		end = w.supervise()
		synctest.Wait()
		assert.Equal(t, []time.Duration{time.Hour + time.Second/2}, w.begun(), "what is overdue")
		w.end(id, 0)
		end()
		defer w.supervise()()
		w.pass(2*time.Second - ms)
		assert.Empty(t, w.begun())
		w.pass(ms)
		assert.Len(t, w.begun(), 1, "the row goes on")
		w.end(id, 0)
		w.pass(time.Hour)
		assert.Empty(t, w.begun(), "and ends")
	})
}

// TestWhatNobodySawEnd is that a host went down.
func TestWhatNobodySawEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		lost := Status{State: compute.Stopped, Run: "7", Restarts: 5, Again: true, Exit: &compute.Exit{Run: "7"}}
		for _, mode := range []compute.RestartMode{compute.RestartAlways, compute.RestartOnFailure, compute.RestartNever} {
			lost.Policy = compute.RestartPolicy{Mode: mode, MaxRetries: 1}
			w.make(lost)
		}
		defer w.supervise()()
		w.pass(time.Minute)
		assert.Equal(t, []time.Duration{100 * ms, 100 * ms}, w.begun())
		assert.Equal(t, "8", w.get("i0").Run)
		assert.Equal(t, 1, w.get("i0").Restarts, "another row")
		assert.Equal(t, compute.Stopped, w.get("i2").State)
	})
}

func TestAHostThatComesUpStartsAFewAtATime(t *testing.T) {
	inWorld(t, func(w *world) {
		w.slow = time.Second
		for range 10 {
			w.make(Status{State: compute.Stopped, Run: "1", Again: true, Policy: always, Exit: &compute.Exit{Run: "1"}})
		}
		end := w.supervise()
		w.pass(time.Minute)
		assert.Len(t, w.begun(), 10)
		assert.Equal(t, startsAtOnce, w.most)
		end()
		assert.Equal(t, time.Minute, time.Since(w.began))
	})
}

func TestAClockThatIsSetBack(t *testing.T) {
	inWorld(t, func(w *world) {
		later := time.Now().Add(time.Hour)
		w.make(Status{State: compute.Stopped, Run: "1", Again: true, Policy: always, Exit: &compute.Exit{Run: "1", Known: true, Started: later, Finished: later}, Started: later})
		defer w.supervise()()
		w.pass(time.Second)
		assert.Len(t, w.begun(), 1)
	})
}

func TestAWatchThatFailsBeginsAnew(t *testing.T) {
	inWorld(t, func(w *world) {
		w.watchErr = errors.New("not now")
		defer w.supervise()()
		synctest.Wait()
		id := w.make(Status{Policy: always})
		w.start(id)
		w.end(id, 0)
		w.pass(anew)
		assert.Len(t, w.begun(), 1)
	})
}

func TestAGapIsMadeUpFor(t *testing.T) {
	supervised(t, func(w *world) {
		gone, id := w.make(Status{Policy: always}), w.make(Status{Policy: always})
		for _, each := range []string{gone, id} {
			w.start(each)
			w.end(each, 0)
		}
		w.mu.Lock()
		delete(w.all, gone)
		w.all[id].Again = false
		looks := w.looks
		w.tell(resource.Event{Type: resource.EventGap})
		w.tell(resource.Event{Type: resource.EventAdded, Ref: resource.Ref{ID: id}})
		w.tell(resource.Event{Type: resource.EventSynced})
		w.mu.Unlock()
		w.pass(time.Hour)
		assert.Empty(t, w.begun())
		assert.Equal(t, looks, w.looks, "all are read at once")
	})
}
