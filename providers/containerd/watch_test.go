package containerd

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	managed "github.com/univirt/univirt/internal/daemon/containerd"
	"github.com/univirt/univirt/internal/testprocess"
	"github.com/univirt/univirt/resource"
)

// reading collects the events of a watch.
type reading struct {
	t      testing.TB
	events chan resource.Event
	end    chan error
}

func read(t testing.TB, p *Provider, opts resource.WatchOptions) *reading {
	ctx, cancel := context.WithCancel(context.Background())
	r := &reading{t: t, events: make(chan resource.Event, 1000), end: make(chan error, 1)}
	go func() {
		var last error
		for e, err := range p.Watch(ctx, opts) {
			if last = err; err == nil {
				r.events <- e
			}
		}
		r.end <- last
	}()
	t.Cleanup(func() {
		cancel()
		<-r.end
	})
	return r
}

// until returns the events up to the first of a type.
func (r *reading) until(typ resource.EventType) []resource.Event {
	r.t.Helper()
	patience := time.After(30 * time.Second)
	var seen []resource.Event
	for {
		select {
		case e := <-r.events:
			seen = append(seen, e)
			if e.Type == typ {
				return seen
			}
		case err := <-r.end:
			r.end <- err
			require.FailNow(r.t, "the watch ended", "%v; seen: %v", err, seen)
		case <-patience:
			require.FailNow(r.t, "no event", "waited for %s; seen: %v", typ, seen)
		}
	}
}

// TestWatchSurvivesItsDaemon: what changed while there was no stream of events is
// told by a Gap and what follows it.
func TestWatchSurvivesItsDaemon(t *testing.T) {
	startShared(t)
	ctx := t.Context()
	dir, err := os.MkdirTemp("", "univirt-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	daemon, err := managed.Start(ctx, managed.Config{Dir: filepath.Join(dir, "d"), Binary: os.Getenv(binaryVariable)})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, daemon.Destroy(context.Background())) })
	p, err := New(ctx, Options{Address: daemon.Address(), StateDir: filepath.Join(dir, "state")})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Close()) })
	importGuest(t, p)
	kept := start(t, p, guestSpec("kept", "sleep", "1h"))
	dying := start(t, p, guestSpec("dying", "sleep", "1h"))
	pid := info(t, dying).PID

	w := read(t, p, resource.WatchOptions{Kinds: []resource.Kind{resource.KindInstance}})
	synced := w.until(resource.EventSynced)
	require.Len(t, synced, 3)
	cursor := synced[2].Cursor
	status, _ := daemon.Status()
	old := status.PID
	testprocess.Freeze(t, old)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	require.NoError(t, syscall.Kill(old, syscall.SIGKILL))
	gap := w.until(resource.EventGap)
	assert.ErrorIs(t, gap[len(gap)-1].Err, errdefs.ErrUnavailable)
	states := map[string]string{}
	for _, e := range w.until(resource.EventSynced) {
		if e.Type == resource.EventAdded {
			states[e.Ref.Name] = e.State
		}
	}
	assert.Equal(t, map[string]string{"kept": "running", "dying": "stopped"}, states)
	require.NoError(t, kept.Stop(ctx, compute.StopOptions{Force: true}))
	exit := w.until(resource.EventChanged)
	assert.Equal(t, resource.ReasonExit, exit[len(exit)-1].Reason, "the stream goes on: %v", exit)

	again := read(t, p, resource.WatchOptions{After: cursor})
	assert.Equal(t, resource.EventGap, again.until(resource.EventGap)[0].Type, "a place before the loss is not known")
	for _, inst := range []compute.Instance{kept, dying} {
		require.NoError(t, inst.Delete(ctx, compute.DeleteOptions{Force: true}))
	}
}

// TestWatchWithoutDaemon: a watch that cannot begin says so.
func TestWatchWithoutDaemon(t *testing.T) {
	p, err := New(t.Context(), open(t, Options{}).opts)
	require.NoError(t, err)
	defer func() { _ = p.Close() }()     // which says that the connection is closed already
	require.NoError(t, p.client.Close()) // as good as a daemon that is gone
	for _, err := range p.Watch(t.Context(), resource.WatchOptions{}) {
		require.Error(t, err)
	}
	for _, err := range p.handle(resource.NewID(), "").Watch(t.Context()) {
		require.Error(t, err)
	}
}

// TestWatchFindsWhatEventsLost reads again what the stream did not say.
func TestWatchFindsWhatEventsLost(t *testing.T) {
	t.Parallel()
	p := openGuest(t, Options{})
	w := read(t, p, resource.WatchOptions{Kinds: []resource.Kind{resource.KindInstance}})
	w.until(resource.EventSynced)
	inst := create(t, p, guestSpec("web"))
	w.until(resource.EventAdded)
	p.events.mu.Lock()
	i := p.events.picture.instances[inst.ID()]
	i.subject = i.with(func(s *subject) { s.state = compute.Running })
	p.events.mu.Unlock()
	events := w.until(resource.EventChanged)
	assert.Equal(t, resource.ReasonExit, events[0].Reason)
}

// TestCloseWithinWatch: Close may be called by the reader of a stream.
func TestCloseWithinWatch(t *testing.T) {
	p := open(t, Options{})
	var last error
	for _, err := range p.Watch(t.Context(), resource.WatchOptions{}) {
		require.NoError(t, p.Close())
		last = err
	}
	require.ErrorIs(t, last, resource.ErrClosed)
}

func TestExitHooks(t *testing.T) {
	p := openGuest(t, Options{})
	exits := make(chan string, 100)
	stop := p.events.onExit(p, func(id string) { exits <- id })
	defer stop()
	assert.Equal(t, "", <-exits, "anything may have ended before the subscription")
	inst := start(t, p, guestSpec("job", "exit", "3"))
	select {
	case id := <-exits:
		assert.Equal(t, inst.ID(), id)
	case <-time.After(30 * time.Second):
		t.Fatal("no exit was told")
	}
	p.events.mu.Lock()
	defer p.events.mu.Unlock()
	assert.Nil(t, p.events.picture, "nobody watches, so nothing is read")
}
