//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/supervise"
	"github.com/univirt/univirt/resource"
)

// hall is libvirt's hypervisor for tests, whose machines end where a test says so.
type hall struct {
	t         *testing.T
	namespace string
	state     string
	raw       *lv.Connect
}

func newHall(t *testing.T, namespace string) *hall {
	t.Helper()
	raw, err := lv.NewConnect("test:///default")
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = raw.Close() })
	return &hall{t: t, namespace: namespace, state: t.TempDir(), raw: raw}
}

func (h *hall) open(supervise bool) *Provider {
	h.t.Helper()
	p, err := New(h.t.Context(), Options{URI: "test:///default", Namespace: h.namespace, StateDir: h.state, Supervise: supervise})
	require.NoError(h.t, err)
	h.t.Cleanup(func() { require.NoError(h.t, p.Close()) })
	return p
}

var atOnceAlways = compute.RestartPolicy{Mode: compute.RestartAlways, Backoff: time.Millisecond}

// create makes an instance, which is deleted when the test is over.
func (h *hall) create(p *Provider, name string, change func(*compute.Spec)) compute.Instance {
	h.t.Helper()
	spec := compute.Spec{Name: name, Boot: &compute.Boot{Kernel: "/vmlinuz"}, Restart: atOnceAlways}
	if change != nil {
		change(&spec)
	}
	inst, err := p.Instances().Create(h.t.Context(), spec)
	require.NoError(h.t, err)
	h.t.Cleanup(func() { h.delete(inst.ID()) })
	return inst
}

func (h *hall) delete(id string) {
	last, err := New(context.Background(), Options{URI: "test:///default", Namespace: h.namespace, StateDir: h.state})
	require.NoError(h.t, err)
	require.NoError(h.t, last.Instances().Handle(id).Delete(context.Background(), compute.DeleteOptions{Force: true}))
	require.NoError(h.t, last.Close())
}

func (h *hall) start(inst compute.Instance) {
	h.t.Helper()
	require.NoError(h.t, inst.Start(h.t.Context(), compute.StartOptions{}))
}

// end ends a run without a Stop.
func (h *hall) end(inst compute.Instance) {
	h.t.Helper()
	require.NoError(h.t, endDomain(h.raw, inst.ID()))
}

func endDomain(raw *lv.Connect, id string) error {
	d, err := raw.LookupDomainByUUIDString(id)
	if err != nil {
		return err
	}
	defer d.Free()
	return d.Destroy()
}

// await waits for what is told of an instance.
func await(t *testing.T, inst compute.Instance, what string, ask func(compute.Info) bool) {
	t.Helper()
	for range inst.(compute.Watcher).Watch(t.Context()) {
		info, err := inst.Info(t.Context())
		require.NoError(t, err)
		if ask(info) {
			return
		}
	}
	require.Fail(t, "it is gone", what)
}

func (h *hall) awaitRun(inst compute.Instance, run int) {
	h.t.Helper()
	await(h.t, inst, "another run", func(i compute.Info) bool { return i.Runs == run && i.State == compute.Running })
}

// pass has the supervisor restart something, after what was due before.
func (h *hall) pass(p *Provider) {
	h.t.Helper()
	inst := h.create(p, "clock-"+resource.NewID()[:8], func(s *compute.Spec) { s.Restart.Backoff = 50 * time.Millisecond })
	h.start(inst)
	h.end(inst)
	h.awaitRun(inst, 2)
}

func (h *hall) info(inst compute.Instance) compute.Info {
	h.t.Helper()
	info, err := inst.Info(h.t.Context())
	require.NoError(h.t, err)
	return info
}

func TestASupervisorRestartsWhatEndsUnasked(t *testing.T) {
	h := newHall(t, "restarts")
	p := h.open(true)
	inst := h.create(p, "web", nil)
	h.start(inst)
	h.end(inst)
	h.awaitRun(inst, 2)
	require.NoError(t, inst.Stop(t.Context(), compute.StopOptions{Force: true}))
	h.pass(p)
	require.Equal(t, compute.Stopped, h.info(inst).State)

	// A policy that comes later is not for what is over.
	late := h.create(p, "late", func(s *compute.Spec) { s.Restart = compute.RestartPolicy{} })
	h.start(late)
	h.end(late)
	await(t, late, "stopped", func(i compute.Info) bool { return i.State == compute.Stopped })
	require.NoError(t, late.Update(t.Context(), compute.Change{Restart: &atOnceAlways}))
	h.pass(p)
	require.Equal(t, 1, h.info(late).Runs)
}

// TestWhatASupervisorFindsIsStarted is that a host has come up again.
func TestWhatASupervisorFindsIsStarted(t *testing.T) {
	h := newHall(t, "found")
	p := h.open(false)
	never, stopped, plain, lost := h.create(p, "never", nil), h.create(p, "stopped", nil),
		h.create(p, "plain", func(s *compute.Spec) { s.Restart = compute.RestartPolicy{} }), h.create(p, "lost", nil)
	for _, inst := range []compute.Instance{stopped, plain, lost} {
		h.start(inst)
	}
	require.NoError(t, stopped.Stop(t.Context(), compute.StopOptions{}))
	h.end(plain)
	h.end(lost)
	q := h.open(true)
	h.awaitRun(lost, 2)
	h.pass(q)
	for inst, runs := range map[compute.Instance]int{never: 0, stopped: 1, plain: 1} {
		info := h.info(inst)
		require.Equal(t, compute.Stopped, info.State, info.Ref.Name)
		require.Equal(t, runs, info.Runs, info.Ref.Name)
	}
}

// TestAStopThatGotNoFurther was killed when it had written down what it was about.
func TestAStopThatGotNoFurther(t *testing.T) {
	h := newHall(t, "halfway")
	p := h.open(true)
	inst := h.create(p, "web", nil)
	h.start(inst)
	_, err := inst.(*instance).forgo(t.Context(), "")
	require.NoError(t, err)
	require.Equal(t, compute.Running, h.info(inst).State)
	h.end(inst)
	await(t, inst, "stopped", func(i compute.Info) bool { return i.State == compute.Stopped })
	h.pass(p)
	require.Equal(t, 1, h.info(inst).Runs)
	h.start(inst)
	h.end(inst)
	h.awaitRun(inst, 3)
}

func TestOneValueSupervisesAtATime(t *testing.T) {
	h := newHall(t, "several")
	watcher := h.open(false)
	inst := h.create(watcher, "web", nil)
	require.False(t, h.info(inst).Supervised)
	first, second := h.open(true), h.open(true)
	require.True(t, h.info(inst).Supervised)
	h.start(inst)
	h.end(inst)
	h.awaitRun(inst, 2)
	require.NoError(t, first.Close())
	h.end(inst)
	h.awaitRun(inst, 3)
	require.True(t, h.info(inst).Supervised)
	require.NoError(t, second.Close())
	require.False(t, h.info(inst).Supervised)
	h.end(inst)
	await(t, inst, "stopped", func(i compute.Info) bool { return i.State == compute.Stopped })

	other := newHall(t, "others")
	other.state = h.state
	other.open(true)
	require.False(t, h.info(inst).Supervised, "of another namespace")
}

// TestHealthIsThatOfARun has a check fail, as nothing can be executed there.
func TestHealthIsThatOfARun(t *testing.T) {
	h := newHall(t, "health")
	plain, p := h.open(false), h.open(true)
	inst := h.create(p, "web", func(s *compute.Spec) {
		s.Restart, s.Health = compute.RestartPolicy{}, &compute.Probe{Exec: []string{"true"}, Failures: 1, Interval: time.Hour}
	})
	told := make(chan resource.Event, 100)
	heard, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for e := range plain.Watch(heard, resource.WatchOptions{}) {
			told <- e
		}
	}()
	for e := (resource.Event{}); e.Type != resource.EventSynced; e = <-told {
	}
	h.start(inst)
	ill := func(i compute.Info) bool { return i.Health == compute.HealthUnhealthy }
	await(t, inst, "unhealthy", ill)
	for e := (resource.Event{}); e.Reason != resource.ReasonHealth; e = <-told {
	}
	same := plain.Instances().Handle(inst.ID())
	require.Equal(t, compute.HealthUnhealthy, h.info(same).Health, "another value tells it too")
	require.Less(t, h.info(same).Level, compute.LevelHealthy)
	require.NoError(t, compute.Reset(t.Context(), inst))
	for e := (resource.Event{}); e.Reason != resource.ReasonReset; e = <-told {
	}
	await(t, inst, "unhealthy again", ill)
	d, err := p.read(t.Context(), inst.ID())
	require.NoError(t, err)
	require.Equal(t, foundRecord{Run: 1, Resets: 1, Findings: supervise.Findings{Health: compute.HealthUnhealthy}}, d.facts.found)
	copied, err := compute.Clone(t.Context(), inst, compute.CloneOptions{Name: "copy"})
	require.NoError(t, err)
	t.Cleanup(func() { h.delete(copied.ID()) })
	d, err = p.read(t.Context(), copied.ID())
	require.NoError(t, err)
	assert.Zero(t, d.facts.found)
	assert.Zero(t, d.facts.run)
	require.NoError(t, inst.Stop(t.Context(), compute.StopOptions{Force: true}))
	require.Empty(t, h.info(inst).Health)
	require.NoError(t, p.Close())
	inst = same
	h.start(inst)
	require.Empty(t, h.info(inst).Health, "nobody finds it out")
	h.open(true)
	await(t, inst, "unhealthy", ill)
}

func TestWhatProbesHaveFoundOutIsTold(t *testing.T) {
	probe := &compute.Probe{Exec: []string{"true"}}
	running := func(change func(*facts)) *domain {
		f := &facts{record: &record{}, run: runRecord{Run: 2}, found: foundRecord{Run: 2}}
		f.record.spec.Health = probe
		change(f)
		return &domain{state: compute.Running, facts: f}
	}
	healthy := func(f *facts) { f.found.Health = compute.HealthHealthy }
	for name, c := range map[string]struct {
		d      *domain
		health compute.Health
		level  compute.Level
	}{
		"nothing yet": {running(func(*facts) {}), compute.HealthStarting, compute.LevelRunning},
		"healthy":     {running(healthy), compute.HealthHealthy, compute.LevelHealthy},
		"of a former run": {running(func(f *facts) { healthy(f); f.found.Run = 1 }),
			compute.HealthStarting, compute.LevelRunning},
		"before a reset": {running(func(f *facts) { healthy(f); f.reset = resetRecord{Run: 2, Resets: 1} }),
			compute.HealthStarting, compute.LevelRunning},
		"not ready":    {running(func(f *facts) { healthy(f); f.record.spec.Readiness = probe }), compute.HealthHealthy, compute.LevelRunning},
		"ready":        {running(func(f *facts) { f.found.Ready = true; f.record.spec.Readiness = probe }), compute.HealthStarting, compute.LevelHealthy},
		"no probe":     {running(func(f *facts) { f.record.spec.Health = nil }), "", compute.LevelRunning},
		"not ours":     {running(func(f *facts) { f.record = nil }), "", compute.LevelRunning},
		"it is over":   {&domain{state: compute.Stopped, facts: running(healthy).facts}, "", compute.LevelRunning},
		"it is paused": {&domain{state: compute.Paused, facts: running(healthy).facts}, compute.HealthHealthy, compute.LevelRunning},
	} {
		info := compute.Info{Level: compute.LevelRunning}
		c.d.judge(&info, true)
		assert.Equal(t, c.health, info.Health, name)
		assert.Equal(t, c.level, info.Level, name)
		assert.True(t, info.Supervised, name)
		alone := compute.Info{Level: compute.LevelRunning}
		c.d.judge(&alone, false)
		assert.Equal(t, compute.Info{Level: compute.LevelRunning}, alone, name)
	}
}
