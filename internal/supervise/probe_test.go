package supervise

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

func passes(context.Context, compute.Probe) error { return nil }

// TestHealth checks an instance every second.
func TestHealth(t *testing.T) {
	const healthy, unhealthy = compute.HealthHealthy, compute.HealthUnhealthy
	ill := errors.New("ill")
	for _, c := range []struct {
		name  string
		probe compute.Probe
		// outcomes are those of the checks, of which the last is that of all that follow.
		outcomes []error
		// want is the health after so many seconds and a bit.
		want []compute.Health
	}{
		{"well", compute.Probe{}, []error{nil}, []compute.Health{healthy, healthy}},
		{"ill", compute.Probe{}, []error{ill}, []compute.Health{"", "", unhealthy, unhealthy}},
		{"one failure is enough", compute.Probe{Failures: 1}, []error{ill}, []compute.Health{unhealthy}},
		{"failures in a row", compute.Probe{Failures: 2}, []error{ill, nil, ill, nil, ill}, []compute.Health{"", healthy, healthy, healthy, healthy, unhealthy}},
		{"well again", compute.Probe{Failures: 1}, []error{ill, nil}, []compute.Health{unhealthy, healthy}},
		{"the start period", compute.Probe{Failures: 1, StartPeriod: 1500 * ms}, []error{ill}, []compute.Health{"", "", unhealthy}},
		{"the start period is over when it is well", compute.Probe{Failures: 1, StartPeriod: time.Hour}, []error{nil, ill}, []compute.Health{healthy, unhealthy}},
	} {
		t.Run(c.name, func(t *testing.T) {
			supervised(t, func(w *world) {
				w.check = func(context.Context, compute.Probe) error {
					w.mu.Lock()
					defer w.mu.Unlock()
					return c.outcomes[min(w.checks, len(c.outcomes))-1]
				}
				c.probe.Interval = time.Second
				id := w.make(Status{Health: &c.probe})
				w.start(id)
				for n, want := range c.want {
					w.pass(ms)
					assert.Equal(t, want, w.get(id).Found.Health, "after %d s", n)
					w.pass(time.Second - ms)
				}
			})
		})
	}
}

func TestReadinessIsFoundOutOnce(t *testing.T) {
	supervised(t, func(w *world) {
		id := w.make(Status{Readiness: &compute.Probe{}})
		w.start(id)
		w.pass(10 * firstProbes)
		assert.False(t, w.get(id).Found.Ready)
		w.mu.Lock()
		assert.Equal(t, 11, w.checks)
		w.checks, w.check = 0, passes
		w.mu.Unlock()
		w.pass(time.Hour)
		assert.True(t, w.get(id).Found.Ready)
		assert.Equal(t, 1, w.checks)
		w.end(id, 0)
		w.start(id)
		w.pass(0)
		assert.True(t, w.get(id).Found.Ready, "of another run")
		assert.Equal(t, 2, w.checks)
	})
}

func TestBothProbesAreOfOneRun(t *testing.T) {
	supervised(t, func(w *world) {
		w.check = passes
		id := w.make(Status{Readiness: &compute.Probe{}, Health: &compute.Probe{}})
		w.start(id)
		w.pass(0)
		assert.Equal(t, Findings{Health: compute.HealthHealthy, Ready: true}, w.get(id).Found)
	})
}

func TestWhatStandsStillIsNotChecked(t *testing.T) {
	supervised(t, func(w *world) {
		id := w.make(Status{Health: &compute.Probe{Interval: time.Second, Failures: 3}})
		w.start(id)
		w.pass(time.Second)
		w.change(id, resource.ReasonPause, func(s *Status) { s.State = compute.Paused })
		w.pass(time.Hour)
		assert.Equal(t, 2, w.checks)
		w.change(id, resource.ReasonResume, func(s *Status) { s.State = compute.Running })
		w.pass(firstProbes)
		assert.Equal(t, compute.HealthUnhealthy, w.get(id).Found.Health, "what was found before counts")
	})
}

// TestAPauseThatIsNotToldYet makes a check fail that decides.
func TestAPauseThatIsNotToldYet(t *testing.T) {
	supervised(t, func(w *world) {
		id := ""
		w.check = func(context.Context, compute.Probe) error {
			w.mu.Lock()
			w.all[id].State = compute.Paused
			w.mu.Unlock()
			w.change(id, resource.ReasonPause, func(*Status) {})
			return errors.New("it does not answer")
		}
		id = w.make(Status{Health: &compute.Probe{Failures: 1}})
		w.start(id)
		w.pass(time.Hour)
		assert.Empty(t, w.get(id).Found.Health)
		assert.Equal(t, 1, w.checks)
	})
}

func TestTheEndOfARunEndsItsChecks(t *testing.T) {
	supervised(t, func(w *world) {
		ended := make(chan struct{})
		w.check = func(ctx context.Context, _ compute.Probe) error {
			<-ctx.Done()
			close(ended)
			return ctx.Err()
		}
		id := w.make(Status{Health: &compute.Probe{Failures: 1}})
		w.start(id)
		w.pass(time.Minute)
		w.end(id, 0)
		<-ended
		w.pass(time.Hour)
		assert.Empty(t, w.get(id).Found.Health)
		assert.Equal(t, 1, w.checks)
	})
}

func TestAResetBeginsTheChecksAnew(t *testing.T) {
	supervised(t, func(w *world) {
		w.check = passes
		id := w.make(Status{Readiness: &compute.Probe{}, Health: &compute.Probe{Failures: 1, StartPeriod: time.Minute}})
		w.start(id)
		w.pass(time.Hour)
		assert.Equal(t, Findings{Health: compute.HealthHealthy, Ready: true}, w.get(id).Found)
		w.change(id, resource.ReasonReset, func(s *Status) { s.Resets, s.Found, w.check = 1, Findings{}, nil })
		w.pass(time.Minute - ms)
		assert.Equal(t, Findings{}, w.get(id).Found)
		w.pass(10 * time.Second)
		assert.Equal(t, Findings{Health: compute.HealthUnhealthy}, w.get(id).Found)
	})
}

func TestFindingsThatCannotBeNotedAreFoundAgain(t *testing.T) {
	supervised(t, func(w *world) {
		w.check, w.noteErr = passes, errors.New("not now")
		id := w.make(Status{Readiness: &compute.Probe{Interval: time.Second}})
		w.start(id)
		w.pass(ms)
		w.mu.Lock()
		w.noteErr = nil
		w.mu.Unlock()
		assert.False(t, w.get(id).Found.Ready)
		w.pass(time.Second)
		assert.True(t, w.get(id).Found.Ready)
		w.pass(time.Hour)
		assert.Equal(t, 2, w.checks)
	})
}

func TestFindingsAreTakenOver(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(Status{
			State: compute.Running, Run: "1", Started: time.Now(), Found: Findings{Health: compute.HealthHealthy, Ready: true},
			Readiness: &compute.Probe{}, Health: &compute.Probe{Interval: time.Second},
		})
		defer w.supervise()()
		w.pass(ms)
		assert.Equal(t, 1, w.checks, "of the health check")
		assert.Equal(t, compute.HealthHealthy, w.get("i0").Found.Health, "one failure is not enough")
		w.pass(2 * time.Second)
		assert.Equal(t, compute.HealthUnhealthy, w.get("i0").Found.Health)
	})
}

func TestARunOfWhichNobodyKnowsWhenItBegan(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(Status{State: compute.Running, Run: "1", Health: &compute.Probe{Failures: 1, StartPeriod: time.Minute}})
		defer w.supervise()()
		w.pass(time.Minute - ms)
		assert.Empty(t, w.get("i0").Found.Health)
		w.pass(10 * time.Second)
		assert.Equal(t, compute.HealthUnhealthy, w.get("i0").Found.Health)
	})
}

func TestAnEventCostsOneRead(t *testing.T) {
	supervised(t, func(w *world) {
		w.check = passes
		id := w.make(Status{Health: &compute.Probe{}})
		w.start(id)
		w.pass(time.Minute)
		assert.Equal(t, 2, w.looks, "one that it was made, one that it was started")
	})
}
