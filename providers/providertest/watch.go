package providertest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	univirt "github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// onlyInstances leaves out the events of images and others.
var onlyInstances = resource.WatchOptions{Kinds: []resource.Kind{resource.KindInstance}}

func watchCases() []testCase {
	return []testCase{
		{"A watch yields what is there as Added, then Synced", nil, watchInitial},
		{"A watch yields the changes of a life in their order", nil, watchLife},
		{"A watch tells of pause and resume", has(compute.FeaturePause), watchPause},
		{"A watch tells the end of a run that nobody asked for", nil, watchExit},
		{"A watch by kind leaves out the others", hook("Image"), watchKinds},
		{"A watch by name leaves out the others", nil, watchNames},
		{"A watch by labels tells of what begins to match as Added and of what ceases to as Deleted", changes("labels"), watchSelector},
		{"Another provider value's changes are told where they are said to be", nil, watchOther},
		{"A watch continues behind the event of its cursor", nil, watchResume},
		{"A watch behind an unknown cursor yields a Gap, what is there, and Synced", nil, watchUnknownCursor},
		{"A slow reader gets a Gap, what is there, what vanished, and Synced", nil, watchGap},
		{"A slow reader that continued behind a cursor is told what vanished too", nil, watchGapResumed},
		{"A watch that nobody reads blocks no writer", nil, watchUnread},
		{"A loop over a watch may be left early", nil, watchEarlyBreak},
		{"Calling Watch does nothing, and each range starts anew", nil, watchLazy},
		{"A watch ends with its context, whose error is yielded last", nil, watchEnds},
		{"A watch ends when the provider is closed", nil, watchClosed},
		{"Many watches see the same", nil, watchMany},
		{"An instance tells its own changes, and ends when it is deleted", canWatch(), watchInstance},
		{"Events of volumes are told", hasVolumes(storage.FeatureVolumes), watchVolumes},
		{"Events of networks are told", hasNetworks(network.FeatureNetworks), watchNetworks},
	}
}

func watchInitial(e *env) {
	e.stopped("a")
	e.running("b")
	spec := e.spec("c", "exit", "0")
	spec.Labels = resource.Labels{"tier": "web"}
	c := e.create(spec)
	there := e.watch(e.p, onlyInstances).synced()
	require.Len(e, there, 3)
	for i, state := range []compute.State{compute.Stopped, compute.Running, compute.Stopped} {
		e.wellFormedRef(there[i].Ref, resource.KindInstance)
		require.Equal(e, string(state), there[i].State, there[i].Ref.Name)
	}
	require.Equal(e, e.info(c).Ref, there[2].Ref)
	require.Equal(e, spec.Labels, there[2].Labels)
}

func watchLife(e *env) {
	w := e.watch(e.p, onlyInstances)
	require.Empty(e, w.synced())
	inst := e.running("web")
	require.NoError(e, inst.Update(e.ctx, compute.Change{Labels: labelsOf("tier", "web")}))
	e.kill(inst)
	ref := e.info(inst).Ref
	e.delete(inst)
	events := w.expect(created("web"), started("web"), updated("web"), exited("web"), deleted("web"))
	for _, event := range events {
		require.Equal(e, ref, event.Ref)
		require.False(e, event.Time.IsZero(), "the time of %s", event.Type)
	}
	require.Equal(e, resource.Labels{"tier": "web"}, events[2].Labels)
	require.Equal(e, resource.Labels{"tier": "web"}, events[3].Labels, "labels after a later event")
}

func watchPause(e *env) {
	inst := e.running("web")
	w := e.watch(e.p, onlyInstances)
	require.Len(e, w.synced(), 1)
	require.NoError(e, compute.Pause(e.ctx, inst))
	require.NoError(e, compute.Pause(e.ctx, inst))
	require.NoError(e, compute.Resume(e.ctx, inst))
	w.expect(moment{resource.EventChanged, "web", resource.ReasonPause, compute.Paused},
		moment{resource.EventChanged, "web", resource.ReasonResume, compute.Running})
}

func watchExit(e *env) {
	w := e.watch(e.p, onlyInstances)
	w.synced()
	e.running("job", "exit", "3")
	w.expect(created("job"), started("job"), exited("job"))
}

func watchKinds(e *env) {
	e.stopped("web")
	for _, event := range e.watch(e.p, onlyInstances).synced() {
		require.Equal(e, resource.KindInstance, event.Ref.Kind)
	}
	require.Empty(e, e.watch(e.p, resource.WatchOptions{Kinds: []resource.Kind{resource.KindSnapshot}}).synced())
	kinds := []resource.Kind{}
	for _, event := range e.watch(e.p, resource.WatchOptions{}).synced() {
		kinds = append(kinds, event.Ref.Kind)
	}
	require.Contains(e, kinds, resource.KindInstance)
}

func watchNames(e *env) {
	e.stopped("a")
	opts := onlyInstances
	opts.Names = []string{"b"}
	w := e.watch(e.p, opts)
	require.Empty(e, w.synced())
	e.stopped("c")
	e.stopped("b")
	w.expect(created("b"))
}

func watchSelector(e *env) {
	inst := e.stopped("web")
	opts := onlyInstances
	opts.Selector = resource.Select(resource.Equals("tier", "web"))
	w := e.watch(e.p, opts)
	require.Empty(e, w.synced())
	update := func(patch resource.LabelPatch) {
		require.NoError(e, inst.Update(e.ctx, compute.Change{Labels: patch}))
	}
	update(labelsOf("tier", "web"))
	update(labelsOf("zone", "x"))
	update(labelsOf("tier", "db"))
	update(labelsOf("zone", "y"))
	update(labelsOf("tier", "web"))
	e.delete(inst)
	added := moment{resource.EventAdded, "web", "", ""}
	w.expect(added, updated("web"), deleted("web"), added, deleted("web"))
}

func watchOther(e *env) {
	if e.s.offer.desc.Changes[resource.KindInstance] != univirt.ByEvent {
		return
	}
	other := e.open(OpenOptions{})
	w := e.watch(other, onlyInstances)
	require.Empty(e, w.synced())
	inst := e.stopped("web")
	// What is gone before it could be looked at may be left out.
	w.expect(created("web"))
	e.start(inst)
	e.kill(inst)
	e.delete(inst)
	w.expect(started("web"), exited("web"), deleted("web"))
}

func watchResume(e *env) {
	w := e.watch(e.p, onlyInstances)
	w.synced()
	inst := e.running("web")
	events := w.expect(created("web"), started("web"))
	_ = w.stop()
	e.kill(inst)
	e.stopped("other")
	e.delete(inst)
	for i, rest := range [][]moment{{started("web")}, {}} {
		cursor := events[i].Cursor
		if cursor == "" {
			// The provider says that it cannot continue here.
			continue
		}
		opts := onlyInstances
		opts.After = cursor
		w := e.watch(e.p, opts)
		want := append(slices.Clone(rest), exited("web"), created("other"), deleted("web"))
		w.resumed()
		w.expect(want...)
	}
}

// resumed requires the stream to continue without a Gap; a Synced that says so
// is taken.
func (w *watching) resumed() {
	w.e.Helper()
	event := w.next("the first event after a cursor")
	require.NotEqual(w.e, resource.EventGap, event.Type, "a cursor of the same provider value is not known: %v", event.Err)
	if event.Type != resource.EventSynced {
		w.back = append(w.back, event)
	}
}

func watchUnknownCursor(e *env) {
	e.stopped("a")
	opts := onlyInstances
	opts.After = "no cursor of anybody's"
	w := e.watch(e.p, opts)
	require.Equal(e, resource.EventGap, w.next("a gap").Type)
	there := w.synced()
	require.Len(e, there, 1)
	require.Equal(e, "a", there[0].Ref.Name)
	e.stopped("b")
	w.expect(created("b"))
}

func watchGap(e *env) {
	kept, gone := e.stopped("kept"), e.stopped("gone")
	watchGapBehind(e, kept, gone, "")
}

func watchGapResumed(e *env) {
	kept, gone := e.stopped("kept"), e.stopped("gone")
	w := e.watch(e.p, onlyInstances)
	w.synced()
	require.NoError(e, kept.Update(e.ctx, compute.Change{Labels: labelsOf("count", "none")}))
	cursor := w.expect(updated("kept"))[0].Cursor
	_ = w.stop()
	if cursor == "" {
		// The provider says that it cannot continue here.
		return
	}
	require.NoError(e, kept.Update(e.ctx, compute.Change{Labels: labelsOf("count", "one")}))
	watchGapBehind(e, kept, gone, cursor)
}

// watchGapBehind has a reader sleep while more happens than its buffer holds: at
// Synced, or with a cursor at the first event behind it.
func watchGapBehind(e *env, kept, gone compute.Instance, after resource.Cursor) {
	opts := onlyInstances
	opts.Buffer = 2
	opts.After = after
	sleepAt := resource.EventSynced
	if after != "" {
		sleepAt = resource.EventChanged
	}
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	asleep, release := make(chan struct{}), make(chan struct{})
	events := make(chan resource.Event, 4096)
	end := make(chan error, 1)
	go func() {
		var last error
		for event, err := range e.p.Watch(ctx, opts) {
			if err != nil {
				last = err
				break
			}
			events <- event
			if event.Type == sleepAt {
				select {
				case <-asleep:
				default:
					close(asleep)
					<-release
				}
			}
		}
		end <- last
	}()
	require.NoError(e, e.returns(fmt.Sprintf("a watch's %s", sleepAt), func() error { <-asleep; return nil }))
	err := e.returns("changes while a reader sleeps", func() error {
		for i := range 20 {
			if err := kept.Update(e.ctx, compute.Change{Labels: labelsOf("count", fmt.Sprint(i))}); err != nil {
				return err
			}
		}
		return gone.Delete(e.ctx, compute.DeleteOptions{})
	})
	require.NoError(e, err)
	e.stopped("new")
	close(release)
	w := &watching{e: e, events: events, end: end, cancel: cancel}
	if after == "" {
		require.Len(e, w.synced(), 2)
	}
	// A few events may have waited for the reader before there were too many.
	for w.next("a gap").Type != resource.EventGap {
	}
	w.picture(map[string]resource.Labels{"kept": {"count": "19"}, "new": nil}, "gone")
	e.delete(kept)
	w.expect(deleted("kept"))
	_ = w.stop()
}

// picture follows a stream behind a Gap until what it has told is what there is:
// resources by name with their labels. One that vanished must have been told.
func (w *watching) picture(want map[string]resource.Labels, vanished string) {
	w.e.Helper()
	have, gone, between := map[string]resource.Labels{}, false, true
	for {
		event := w.next("what is there after a gap")
		switch event.Type {
		case resource.EventGap:
			clear(have)
			between = true
		case resource.EventSynced:
			between = false
		case resource.EventAdded:
			have[event.Ref.Name] = event.Labels
		case resource.EventDeleted:
			delete(have, event.Ref.Name)
			gone = gone || event.Ref.Name == vanished
		default:
			require.False(w.e, between, "between Gap and Synced only Added and Deleted are told: %s", w)
			require.Contains(w.e, have, event.Ref.Name, "a change of what was not told: %s", w)
			have[event.Ref.Name] = event.Labels
		}
		if !between && gone && maps.EqualFunc(have, want, maps.Equal[resource.Labels, resource.Labels]) {
			return
		}
	}
}

func watchUnread(e *env) {
	opts := onlyInstances
	opts.Buffer = 1
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	reached, release, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var once sync.Once
	go func() {
		defer close(done)
		for _, err := range e.p.Watch(ctx, opts) {
			if err != nil {
				return
			}
			once.Do(func() { close(reached) })
			<-release
		}
	}()
	require.NoError(e, e.returns("the first event", func() error { <-reached; return nil }))
	err := e.returns("lives while nobody reads", func() error {
		for i := range 10 {
			inst, err := e.instances().Create(e.ctx, e.spec(fmt.Sprintf("web-%d", i), "sleep", "1h"))
			if err != nil {
				return err
			}
			if err := inst.Delete(e.ctx, compute.DeleteOptions{}); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(e, err)
	cancel()
	close(release)
	require.NoError(e, e.returns("the end of the watch", func() error { <-done; return nil }))
}

func watchEarlyBreak(e *env) {
	e.stopped("a")
	for range 3 {
		for _, err := range e.p.Watch(e.ctx, onlyInstances) {
			require.NoError(e, err)
			break
		}
	}
	e.stopped("b")
}

func watchLazy(e *env) {
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	stream := e.p.Watch(ctx, onlyInstances)
	e.stopped("a")
	for range 2 {
		var types []resource.EventType
		for event, err := range stream {
			require.NoError(e, err)
			types = append(types, event.Type)
			if event.Type == resource.EventSynced {
				break
			}
		}
		require.Equal(e, []resource.EventType{resource.EventAdded, resource.EventSynced}, types)
	}
}

func watchEnds(e *env) {
	w := e.watch(e.p, onlyInstances)
	w.synced()
	e.cancelled(w.stop(), context.Canceled)
}

func watchClosed(e *env) {
	p := e.open(OpenOptions{})
	w := e.watch(p, onlyInstances)
	w.synced()
	require.NoError(e, p.Close())
	var err error
	hung := e.returns("the end of a watch by Close", func() error { err = <-w.end; w.end <- err; return nil })
	require.NoError(e, hung)
	e.fails(err, resource.ErrClosed)
}

func watchMany(e *env) {
	watches := make([]*watching, crowd)
	for i := range watches {
		watches[i] = e.watch(e.p, onlyInstances)
		watches[i].synced()
	}
	inst := e.running("web")
	e.kill(inst)
	e.delete(inst)
	for _, w := range watches {
		w.expect(created("web"), started("web"), exited("web"), deleted("web"))
	}
}

func watchInstance(e *env) {
	inst := e.stopped("web")
	watcher, ok := resource.As[compute.Watcher](inst)
	require.True(e, ok, "it was one when the suite began")
	w := e.read(watcher.Watch)
	there := w.synced()
	require.Len(e, there, 1)
	require.Equal(e, inst.ID(), there[0].Ref.ID)
	e.stopped("other")
	e.start(inst)
	e.kill(inst)
	e.delete(inst)
	w.expect(started("web"), exited("web"), deleted("web"))
	var end error
	require.NoError(e, e.returns("the end of an instance's watch", func() error { end = <-w.end; w.end <- end; return nil }))
	require.NoError(e, end, "the end of a watch of an instance that was deleted")
	for _, err := range watcher.Watch(e.ctx) {
		e.fails(err, errdefs.ErrNotFound)
	}
}

func watchVolumes(e *env) {
	w := e.watch(e.p, resource.WatchOptions{Kinds: []resource.Kind{resource.KindVolume}})
	require.Empty(e, w.synced())
	v, err := e.p.Volumes().Create(e.ctx, storage.Spec{Name: "data"})
	require.NoError(e, err)
	require.NoError(e, v.Update(e.ctx, storage.Change{Labels: labelsOf("tier", "web")}))
	require.NoError(e, v.Delete(e.ctx, storage.DeleteOptions{}))
	w.expect(moment{resource.EventAdded, "data", resource.ReasonCreate, ""}, updated("data"), deleted("data"))
}

func watchNetworks(e *env) {
	w := e.watch(e.p, resource.WatchOptions{Kinds: []resource.Kind{resource.KindNetwork}})
	require.Empty(e, w.synced())
	n, err := e.p.Networks().Create(e.ctx, network.Spec{Name: "lan"})
	require.NoError(e, err)
	require.NoError(e, n.Update(e.ctx, network.Change{Labels: labelsOf("tier", "web")}))
	require.NoError(e, n.Delete(e.ctx, network.DeleteOptions{}))
	w.expect(moment{resource.EventAdded, "lan", resource.ReasonCreate, ""}, updated("lan"), deleted("lan"))
}
