// Package supervise acts on the restart policies and probes of instances: it is told
// what happens to them, has those begin another run whose policy wants one, and
// carries out the checks of those that run. It knows no backend, and keeps nothing
// that must outlive it: what the next supervisor has to know lies with the instances.
package supervise

import (
	"context"
	"iter"
	"time"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// Target is the instances that are supervised. Its methods may be called
// concurrently, and end with their context.
type Target interface {
	// Watch yields what is there and then what changes, as univirt.Provider's does; it
	// ends with the context.
	Watch(ctx context.Context) iter.Seq2[resource.Event, error]
	// All returns what there is.
	All(ctx context.Context) ([]Status, error)
	// Look returns what is known of one instance, NotFound where there is none.
	Look(ctx context.Context, id string) (Status, error)
	// Restart begins another run, if the function says so of what the instance is when
	// nobody else can change it. The number that it returns is the run's, in its row,
	// for Status.Restarts.
	Restart(ctx context.Context, id string, due func(Status) (restarts int, ok bool)) error
	// Check carries out a probe: nil where it passes.
	Check(ctx context.Context, id string, probe compute.Probe, ports []network.Port) error
	// Note keeps what was found out about a run, since so many resets.
	Note(ctx context.Context, id, run string, resets int, found Findings) error
}

// Status is what a supervisor knows of an instance.
type Status struct {
	ID    string
	State compute.State
	// Run is the token of the run under way, or of the last; empty where it never ran.
	Run string
	// Started is when that run began; the zero time where that is not known.
	Started time.Time
	// Exit is its end; nil where it is not over. Its time is zero where nobody saw it.
	Exit *compute.Exit
	// Again says that another run was to follow when that one ended: its end was not
	// asked for, and the policy of that time wanted one.
	Again bool
	// Restarts is how many restarts of the row led to the run; 0 for one that a Start
	// began.
	Restarts int
	// Resets is how often the guest was begun anew within the run, and Found what was
	// found out about it since.
	Resets int
	Found  Findings

	Policy            compute.RestartPolicy
	Health, Readiness *compute.Probe
	Ports             []network.Port
}

// Findings are what probes have found out about a run.
type Findings struct {
	// Health is the outcome of the health check; empty where there is none so far.
	Health compute.Health `json:"health,omitempty"`
	// Ready says that the readiness probe has passed.
	Ready bool `json:"ready,omitempty"`
}

const (
	// defaultBackoff is the wait before the first restart, and maxBackoff the longest.
	defaultBackoff, maxBackoff = 100 * time.Millisecond, 5 * time.Minute
	// steady is how long a run lasts that ends a row of restarts.
	steady = 10 * time.Second
)

// Wants reports whether a policy has a run that ended so be followed by another. An
// end of which nothing is known is a failure.
func Wants(policy compute.RestartPolicy, exit compute.Exit) bool {
	switch policy.Mode {
	case compute.RestartAlways:
		return true
	case compute.RestartOnFailure:
		return !exit.Known || exit.Code != 0
	}
	return false
}

// next says when the run that follows the last one begins, and the how manieth of its
// row it is, after some that could not be begun. It is false where none follows.
func (s Status) next(now time.Time, failed int) (at time.Time, restarts int, ok bool) {
	if s.State != compute.Stopped || s.Exit == nil || !s.Again || !Wants(s.Policy, *s.Exit) {
		return time.Time{}, 0, false
	}
	row, from := s.Restarts, s.Exit.Finished
	if from.IsZero() || from.Sub(s.Started) >= steady {
		row = 0
	}
	row += failed
	if most := s.Policy.MaxRetries; most > 0 && row >= most {
		return time.Time{}, 0, false
	}
	wait := s.Policy.Backoff
	if wait == 0 {
		wait = defaultBackoff
	}
	for range row {
		if wait >= maxBackoff {
			break
		}
		wait = min(2*wait, maxBackoff)
	}
	// A clock may have been set back, and what could not be begun was tried later.
	if from.IsZero() || from.After(now) || failed > 0 {
		from = now
	}
	return from.Add(wait), row + 1, true
}

// goesOn reports whether the run is not over.
func (s Status) goesOn() bool { return s.State.Active() || s.State == compute.Suspended }
