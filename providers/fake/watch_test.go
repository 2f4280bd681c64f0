package fake_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/resource"
)

var instancesOnly = resource.WatchOptions{Kinds: []resource.Kind{resource.KindInstance}}

// told shortens events for comparison.
func told(events []resource.Event) []string {
	var out []string
	for _, e := range events {
		text := string(e.Type)
		for _, more := range []string{e.Ref.Name, e.Reason, e.State} {
			if more != "" {
				text += " " + more
			}
		}
		out = append(out, text)
	}
	return out
}

func TestWatchTellsWhatIsThereThenWhatHappens(t *testing.T) {
	p := fake.Test(t, fake.Options{})
	start(t, p, "old")
	begun := false
	events := watching(t, p, instancesOnly, func(e resource.Event) bool {
		if e.Type == resource.EventSynced && !begun {
			begun = true
			inst := start(t, p, "web")
			assert.NoError(t, compute.Pause(t.Context(), inst))
			assert.NoError(t, compute.Resume(t.Context(), inst))
			assert.NoError(t, compute.Suspend(t.Context(), inst, compute.SuspendOptions{}))
			assert.NoError(t, inst.Start(t.Context(), compute.StartOptions{}))
			value := "x"
			assert.NoError(t, inst.Update(t.Context(), compute.Change{Labels: resource.LabelPatch{"a": &value}}))
			assert.NoError(t, inst.Update(t.Context(), compute.Change{Labels: resource.LabelPatch{"a": &value}}), "changes nothing")
			assert.NoError(t, inst.Stop(t.Context(), compute.StopOptions{}))
			assert.NoError(t, inst.Delete(t.Context(), compute.DeleteOptions{}))
		}
		return e.Type == resource.EventDeleted
	})
	assert.Equal(t, []string{
		"added old running", "synced",
		"added web create stopped", "changed web start running", "changed web pause paused", "changed web resume running",
		"changed web suspend suspended", "changed web start running", "changed web update running",
		"changed web exit stopped", "deleted web stopped",
	}, told(events))
}

func TestWatchOfASlowReaderGetsAGap(t *testing.T) {
	p := fake.Test(t, fake.Options{})
	create(t, p, "stays")
	gone := create(t, p, "gone")
	opts := instancesOnly
	opts.Buffer = 3
	seen := 0
	events := watching(t, p, opts, func(e resource.Event) bool {
		if e.Type != resource.EventSynced {
			return false
		}
		if seen++; seen == 1 {
			// The writer does not wait for this reader.
			assert.NoError(t, gone.Delete(t.Context(), compute.DeleteOptions{}))
			for n := range 3 {
				start(t, p, fmt.Sprintf("new-%d", n))
			}
		}
		return seen == 2
	})
	assert.Equal(t, []string{
		"added stays stopped", "added gone stopped", "synced",
		"gap", "added stays stopped", "added new-0 running", "added new-1 running", "added new-2 running", "deleted gone", "synced",
	}, told(events))
	assert.Error(t, events[3].Err)
}

func TestWatchGoesOnBehindACursor(t *testing.T) {
	p := fake.Test(t, fake.Options{History: 4})
	create(t, p, "one")
	begin := watching(t, p, instancesOnly, synced)
	cursor := begin[len(begin)-1].Cursor
	create(t, p, "two")
	create(t, p, "three")
	until := func(name string) func(resource.Event) bool {
		return func(e resource.Event) bool {
			return e.Ref.Name == name && e.Reason == resource.ReasonCreate || e.Type == resource.EventSynced
		}
	}
	opts := instancesOnly
	opts.After = cursor
	events := watching(t, p, opts, until("three"))
	assert.Equal(t, []string{"added two create stopped", "added three create stopped"}, told(events))
	opts.After = events[0].Cursor
	assert.Equal(t, []string{"added three create stopped"}, told(watching(t, p, opts, until("three"))))

	for n := range 5 {
		create(t, p, fmt.Sprintf("more-%d", n))
	}
	for name, after := range map[string]resource.Cursor{
		"too old": cursor, "not of this provider": "ffffffff.3", "nonsense": "nonsense", "from the future": cursor + "000",
	} {
		opts.After = after
		events := watching(t, p, opts, synced)
		require.NotEmpty(t, events, name)
		assert.Equal(t, resource.EventGap, events[0].Type, name)
		assert.Len(t, events, 10, name)
	}
}

func TestWatchBySelector(t *testing.T) {
	p := fake.Test(t, fake.Options{})
	labels := func(tier string) func(*compute.Spec) {
		return func(s *compute.Spec) { s.Labels = resource.Labels{"tier": tier} }
	}
	create(t, p, "db", labels("db"))
	web := create(t, p, "web", labels("web"))
	opts := resource.WatchOptions{Selector: resource.Select(resource.Equals("tier", "web"))}
	relabel := func(tier string) {
		assert.NoError(t, web.Update(t.Context(), compute.Change{Labels: resource.LabelPatch{"tier": &tier}}))
	}
	events := watching(t, p, opts, func(e resource.Event) bool {
		if e.Type == resource.EventSynced {
			relabel("db")
			start(t, p, "other", labels("db"))
			relabel("web")
			relabel("web")
			assert.NoError(t, web.Delete(t.Context(), compute.DeleteOptions{}))
			create(t, p, "last", labels("web"))
		}
		return e.Ref.Name == "last"
	})
	assert.Equal(t, []string{
		"added web stopped", "synced", "deleted web update stopped", "added web update stopped", "deleted web stopped", "added last create stopped",
	}, told(events))

	opts = resource.WatchOptions{Names: []string{"last"}}
	assert.Equal(t, []string{"added last stopped", "synced"}, told(watching(t, p, opts, synced)))
}

func TestWatchEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.Test(t, fake.Options{})
		inst := create(t, p, "web")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := resource.Collect(p.Watch(ctx, resource.WatchOptions{}))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = resource.Collect(p.Watch(t.Context(), resource.WatchOptions{Buffer: -1}))
		require.ErrorIs(t, err, errdefs.ErrInvalidArgument)

		watcher, ok := resource.As[compute.Watcher](inst)
		require.True(t, ok)
		ends := make(chan error)
		for _, stream := range []func() error{
			func() error { _, err := resource.Collect(p.Watch(t.Context(), resource.WatchOptions{})); return err },
			func() error { _, err := resource.Collect(watcher.Watch(t.Context())); return err },
		} {
			go func() { ends <- stream() }()
		}
		synctest.Wait()
		require.NoError(t, p.Close())
		require.ErrorIs(t, <-ends, resource.ErrClosed)
		require.ErrorIs(t, <-ends, resource.ErrClosed)
	})
}

func TestWatchOfOneInstanceEndsWithIt(t *testing.T) {
	p := fake.Test(t, fake.Options{})
	create(t, p, "other")
	inst := create(t, p, "web")
	watcher, _ := resource.As[compute.Watcher](inst)
	var events []resource.Event
	for e, err := range watcher.Watch(t.Context()) {
		require.NoError(t, err)
		events = append(events, e)
		if e.Type == resource.EventSynced {
			start(t, p, "third")
			require.NoError(t, inst.Start(t.Context(), compute.StartOptions{}))
			require.NoError(t, inst.Delete(t.Context(), compute.DeleteOptions{Force: true}))
		}
	}
	assert.Equal(t, []string{"added web stopped", "synced", "changed web start running", "changed web exit stopped", "deleted web stopped"}, told(events))
	_, err := resource.Collect(watcher.Watch(t.Context()))
	require.ErrorIs(t, err, errdefs.ErrNotFound)
}

func TestNobodyWaitsForAWatchThatIsNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.Test(t, fake.Options{})
		reading, goOn := make(chan struct{}), make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range p.Watch(t.Context(), resource.WatchOptions{}) {
				close(reading)
				<-goOn
				return
			}
		}()
		<-reading
		for range 5000 {
			lifecycle(t, p)
		}
		close(goOn)
		<-done
	})
}
