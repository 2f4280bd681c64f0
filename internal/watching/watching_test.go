package watching

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/resource"
)

var errClosed = errors.New("closed")

// reader ranges over a board within a bubble.
type reader struct {
	t      *testing.T
	events chan resource.Event
	end    chan error
	stop   context.CancelFunc
}

func read(t *testing.T, b *Board, source Source, opts resource.WatchOptions) *reader {
	ctx, cancel := context.WithCancel(t.Context())
	r := &reader{t: t, events: make(chan resource.Event), end: make(chan error, 1), stop: cancel}
	if source.Refresh == nil {
		source.Refresh = func(context.Context) error { return nil }
	}
	source.Err = func() error { return errClosed }
	go func() {
		_, err := b.Range(ctx, source, opts, func(e resource.Event, _ error) bool {
			select {
			case r.events <- e:
				return true
			case <-ctx.Done():
				return false
			}
		})
		r.end <- err
	}()
	return r
}

// expect requires the next events, each written as "type name state reason".
func (r *reader) expect(want ...string) (last resource.Event) {
	r.t.Helper()
	for _, w := range want {
		last = <-r.events
		got := fmt.Sprintf("%s %s %s %s", last.Type, last.Ref.Name, last.State, last.Reason)
		require.Equal(r.t, w, got)
	}
	return last
}

// silent requires that nothing is told.
func (r *reader) silent() {
	r.t.Helper()
	synctest.Wait()
	select {
	case e := <-r.events:
		require.Fail(r.t, "an event that should not be", "%v", e)
	default:
	}
}

func subject(name, state string, labels resource.Labels) *Subject {
	return &Subject{
		Ref: resource.Ref{Kind: resource.KindInstance, Name: name, ID: "id-" + name}, Managed: true, Names: []string{name},
		Labels: labels, State: state,
	}
}

func set(b *Board, s *Subject, reason string) {
	b.Change(func(p *Picture) { p.Set(s, reason, time.Now()) })
}

func remove(b *Board, name string) {
	b.Change(func(p *Picture) { p.Remove(subject(name, "", nil).Key(), time.Now()) })
}

func TestAWatchTellsWhatIsThereAndThenChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Board
		set(&b, subject("web", "stopped", nil), "create")
		r := read(t, &b, Source{}, resource.WatchOptions{})
		r.expect("added web stopped ", "synced   ")
		set(&b, subject("web", "running", nil), "start")
		set(&b, subject("db", "stopped", nil), "create")
		remove(&b, "web")
		remove(&b, "nobody")
		r.expect("changed web running start", "added db stopped create", "deleted web  ")
		r.silent()
		r.stop()
		require.ErrorIs(t, <-r.end, context.Canceled)
	})
}

func TestAWatchByLabelsTellsWhatBeginsAndCeasesToMatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Board
		set(&b, subject("web", "stopped", nil), "create")
		selector, err := resource.ParseSelector("tier=web")
		require.NoError(t, err)
		r := read(t, &b, Source{}, resource.WatchOptions{Selector: selector})
		r.expect("synced   ")
		set(&b, subject("web", "stopped", resource.Labels{"tier": "web"}), "update")
		set(&b, subject("web", "running", resource.Labels{"tier": "web"}), "start")
		set(&b, subject("web", "running", nil), "update")
		r.expect("added web stopped update", "changed web running start", "deleted web running update")
		r.silent()
		r.stop()
		<-r.end
	})
}

func TestASlowReaderGetsAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Board
		set(&b, subject("old", "stopped", nil), "create")
		refreshed := 0
		r := read(t, &b, Source{Refresh: func(context.Context) error { refreshed++; return nil }}, resource.WatchOptions{Buffer: 2})
		r.expect("added old stopped ", "synced   ")
		synctest.Wait()
		// In one change, so that the reader takes nothing in between.
		b.Change(func(p *Picture) {
			for i := range 5 {
				p.Set(subject(fmt.Sprint("n", i), "stopped", nil), "create", time.Now())
			}
			p.Remove(subject("old", "", nil).Key(), time.Now())
			for i := range 4 {
				p.Remove(subject(fmt.Sprint("n", i), "", nil).Key(), time.Now())
			}
		})
		e := <-r.events
		require.Equal(t, resource.EventGap, e.Type)
		require.ErrorIs(t, e.Err, errdefs.ErrResourceExhausted)
		r.expect("added n4 stopped ")
		r.expect("deleted old  ", "synced   ")
		assert.Equal(t, 2, refreshed, "what is there is read anew behind a gap")
		r.stop()
		<-r.end
	})
}

func TestALostPictureIsAGapThatEndsWithTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Board
		why := errors.New("the daemon has gone")
		set(&b, subject("web", "running", nil), "create")
		set(&b, subject("db", "running", nil), "create")
		r := read(t, &b, Source{}, resource.WatchOptions{})
		r.expect("added db running ", "added web running ", "synced   ")
		b.Lose(why)
		b.Lose(errors.New("a second loss is none"))
		r.silent()
		b.Change(func(p *Picture) {
			p.Remove(subject("db", "", nil).Key(), time.Now())
			p.Set(subject("web", "stopped", nil), "exit", time.Now())
		})
		gap := r.expect("gap   ")
		assert.Equal(t, why, gap.Err)
		r.expect("added web stopped ", "deleted db  ", "synced   ")
		r.stop()
		<-r.end
	})
}

func TestAWatchContinuesBehindACursor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Board
		set(&b, subject("web", "stopped", nil), "create")
		r := read(t, &b, Source{}, resource.WatchOptions{})
		r.expect("added web stopped ", "synced   ")
		set(&b, subject("web", "running", nil), "start")
		cursor := r.expect("changed web running start").Cursor
		r.stop()
		<-r.end
		set(&b, subject("db", "stopped", nil), "create")
		remove(&b, "web")

		r = read(t, &b, Source{}, resource.WatchOptions{After: cursor})
		r.expect("added db stopped create", "deleted web  ")
		r.silent()
		r.stop()
		<-r.end

		r = read(t, &b, Source{}, resource.WatchOptions{After: "of.another"})
		r.expect("gap   ", "added db stopped ", "synced   ")
		r.stop()
		<-r.end
	})
}

func TestAWatchOfOneResourceEndsWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Board
		only := Source{Only: subject("web", "", nil).Key()}
		b.Change(func(*Picture) {})
		r := read(t, &b, only, resource.WatchOptions{})
		require.ErrorIs(t, <-r.end, errdefs.ErrNotFound)

		set(&b, subject("web", "stopped", nil), "create")
		r = read(t, &b, only, resource.WatchOptions{})
		r.expect("added web stopped ", "synced   ")
		set(&b, subject("db", "stopped", nil), "create")
		r.silent()
		remove(&b, "web")
		r.expect("deleted web  ")
		require.NoError(t, <-r.end)
	})
}

func TestAWatchEndsWithItsContextTheProviderOrItsOptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Board
		r := read(t, &b, Source{}, resource.WatchOptions{})
		require.ErrorIs(t, <-r.end, errdefs.ErrUnavailable, "nothing is known")

		b.Change(func(*Picture) {})
		r = read(t, &b, Source{}, resource.WatchOptions{Buffer: -1})
		require.ErrorIs(t, <-r.end, errdefs.ErrInvalidArgument)

		closed := make(chan struct{})
		r = read(t, &b, Source{Closed: closed}, resource.WatchOptions{})
		r.expect("synced   ")
		close(closed)
		require.ErrorIs(t, <-r.end, errClosed)

		r = read(t, &b, Source{}, resource.WatchOptions{})
		r.expect("synced   ")
		synctest.Wait()
		r.stop()
		require.ErrorIs(t, <-r.end, context.Canceled)

		failed := errors.New("cannot be read")
		r = read(t, &b, Source{Refresh: func(context.Context) error { return failed }}, resource.WatchOptions{})
		require.ErrorIs(t, <-r.end, failed)
	})
}

func TestWhoWaitsForAResourceIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Board
		key := subject("web", "", nil).Key()
		changed, stop := b.Await(key)
		set(&b, subject("db", "stopped", nil), "create")
		<-changed // the picture has become whole
		set(&b, subject("db", "running", nil), "start")
		select {
		case <-changed:
			require.Fail(t, "told of another resource")
		default:
		}
		set(&b, subject("web", "stopped", nil), "create")
		<-changed
		b.Notify(key)
		<-changed
		b.Lose(errors.New("lost"))
		<-changed
		stop()
		assert.Empty(t, b.waits)
	})
}

func TestUntilWaitsWhereSomebodyHasWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Board
		key := subject("web", "", nil).Key()
		never := func(*Subject) bool { return false }
		b.Until(t.Context(), key, never) // nobody has watched
		set(&b, subject("web", "stopped", nil), "create")
		r := read(t, &b, Source{}, resource.WatchOptions{})
		r.expect("added web stopped ", "synced   ")
		began := time.Now()
		bounded, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		b.Until(bounded, key, never)
		assert.Equal(t, time.Second, time.Since(began))
		done := make(chan struct{})
		go func() {
			defer close(done)
			b.Until(t.Context(), key, func(s *Subject) bool { return s != nil && s.State == "running" })
		}()
		synctest.Wait()
		set(&b, subject("web", "running", nil), "start")
		<-done
		r.expect("changed web running start")
		r.stop()
		<-r.end
	})
}
