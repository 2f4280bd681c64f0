package providertest

import (
	"context"
	"errors"
	"iter"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	univirt "github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// modelSabotage is a mistake that a model test must find.
type modelSabotage struct {
	name string
	// says is a regular expression of what the finding says.
	says  string
	plant func(s *saboteur)
}

func modelSabotages() []modelSabotage {
	return []modelSabotage{
		{"a Stop that does nothing", "want the state stopped|want the token of a new run", func(s *saboteur) {
			s.stop = func(ctx context.Context, real compute.Instance, opts compute.StopOptions) error {
				info, err := real.Info(ctx)
				if err != nil || info.State != compute.Running || opts.IfRevision != "" {
					return real.Stop(ctx, opts)
				}
				return nil
			}
		}},
		{"an exit code that is off by one", "want an exit", func(s *saboteur) {
			s.wait = func(ctx context.Context, real compute.Instance, opts compute.WaitOptions) (compute.Exit, error) {
				exit, err := real.Wait(ctx, opts)
				exit.Code++
				return exit, err
			}
		}},
		{"an event of an exit that is lost", "ought to be told", func(s *saboteur) { s.watch = losing(resource.ReasonExit) }},
		{"an event of an update that is lost", "ought to be told", func(s *saboteur) { s.watch = losing(resource.ReasonUpdate) }},
		{"events that come twice", "ought to be told", func(s *saboteur) {
			s.watch = func(_ context.Context, _ resource.WatchOptions, real iter.Seq2[resource.Event, error]) iter.Seq2[resource.Event, error] {
				return func(yield func(resource.Event, error) bool) {
					for event, err := range real {
						if !yield(event, err) || err == nil && event.Type == resource.EventChanged && !yield(event, err) {
							return
						}
					}
				}
			}
		}},
		{"a name that can be taken twice", "want already exists", func(s *saboteur) {
			s.create = func(ctx context.Context, real compute.Instances, spec compute.Spec) (compute.Instance, error) {
				if inst, err := real.Get(ctx, spec.Name); err == nil {
					return inst, nil
				}
				return real.Create(ctx, spec)
			}
		}},
		{"a Delete of a running instance that obeys", "want failed precondition", func(s *saboteur) {
			s.delete = func(ctx context.Context, real compute.Instance, opts compute.DeleteOptions) error {
				opts.Force = true
				return real.Delete(ctx, opts)
			}
		}},
		{"a revision that is not looked at", "want aborted", func(s *saboteur) {
			s.delete = func(ctx context.Context, real compute.Instance, opts compute.DeleteOptions) error {
				opts.IfRevision = ""
				return real.Delete(ctx, opts)
			}
		}},
		{"an Update that changes nothing", "has the labels", func(s *saboteur) {
			s.update = func(ctx context.Context, real compute.Instance, change compute.Change) error {
				return real.Update(ctx, compute.Change{IfRevision: change.IfRevision})
			}
		}},
		{"a run that is begun by a second Start", "want run", func(s *saboteur) {
			s.start = func(ctx context.Context, real compute.Instance, opts compute.StartOptions) error {
				if info, err := real.Info(ctx); err == nil && info.State == compute.Running {
					if err := real.Stop(ctx, compute.StopOptions{Force: true}); err != nil {
						return err
					}
				}
				return real.Start(ctx, opts)
			}
		}},
		{"a filter that is not looked at", "against the filter", func(s *saboteur) {
			s.list = func(ctx context.Context, real compute.Instances, _ compute.Filter) iter.Seq2[compute.Info, error] {
				return real.List(ctx, compute.Filter{})
			}
		}},
		{"output of executions that is lost", "want the standard output", func(s *saboteur) {
			s.exec = func(ctx context.Context, real compute.Instance, spec compute.ExecSpec) (compute.Execution, error) {
				spec.Stdout = nil
				return compute.Exec(ctx, real, spec)
			}
		}},
		{"a Pause that does nothing", "want the state paused", func(s *saboteur) {
			s.pause = func(ctx context.Context, real compute.Instance) error {
				info, err := real.Info(ctx)
				if err == nil {
					_, err = compute.CheckTransition(info.State, compute.OpPause)
					err = resource.Fail("pause", info.Ref, err)
				}
				return err
			}
		}},
	}
}

// losing is a watch that loses the events of a reason.
func losing(reason string) func(context.Context, resource.WatchOptions, iter.Seq2[resource.Event, error]) iter.Seq2[resource.Event, error] {
	return func(_ context.Context, _ resource.WatchOptions, real iter.Seq2[resource.Event, error]) iter.Seq2[resource.Event, error] {
		return func(yield func(resource.Event, error) bool) {
			for event, err := range real {
				if event.Reason != reason && !yield(event, err) {
					return
				}
			}
		}
	}
}

// sabotagedHarness is a fake with a mistake.
func sabotagedHarness(t *testing.T, plant func(s *saboteur)) Harness {
	h := fakeHarness(t, compute.Container)
	h.Patience = 5 * time.Second
	open := h.Open
	h.Open = func(ctx context.Context, opts OpenOptions) (univirt.Provider, error) {
		p, err := open(ctx, opts)
		if err != nil {
			return nil, err
		}
		s := &saboteur{Provider: p, namespace: opts.Namespace}
		plant(s)
		return s, nil
	}
	return h
}

// fewSteps is how many a mistake may take to be shown: each needs three, and some
// depend on which of two things is faster.
const fewSteps = 8

// untilFound is a number of sequences that is far above what it takes to meet any
// of the mistakes: who does not find it by then is blind to it.
const untilFound = 10_000

// TestModelFindsMistakes plants one mistake after the other, and sees each found
// and shown by few steps.
func TestModelFindsMistakes(t *testing.T) {
	for _, x := range modelSabotages() {
		t.Run(x.name, func(t *testing.T) {
			h := sabotagedHarness(t, x.plant)
			h.Force = nil
			r, err := runModel(t.Context(), h, ModelOptions{Sequences: untilFound, Steps: 25, Shrink: time.Minute})
			require.NoError(t, err)
			require.NotNil(t, r.found, "the mistake was not found")
			require.Regexp(t, x.says, r.found.String())
			require.LessOrEqual(t, len(r.found.steps), fewSteps, "the sequence could be shorter:\n%s", r.found)
		})
	}
}

// TestModelCountsPairs sees a model test find that an operation was never tried.
func TestModelCountsPairs(t *testing.T) {
	r, err := runModel(t.Context(), fakeHarness(t, compute.Container), ModelOptions{Sequences: 1, Steps: 1})
	require.NoError(t, err)
	require.Nil(t, r.found)
	require.Greater(t, len(r.never), 10, "%v", r.never)
}

// TestModelCountsForcedPairs sees a model test want each operation in the states
// that a harness brings about, and in no others.
func TestModelCountsForcedPairs(t *testing.T) {
	never := func(t *testing.T, adapt func(h *Harness)) map[compute.State]int {
		h := fakeHarness(t, compute.Container)
		adapt(&h)
		r, err := runModel(t.Context(), h, ModelOptions{Sequences: defaultSequences, Steps: 1})
		require.NoError(t, err)
		require.Nil(t, r.found)
		counts := make(map[compute.State]int)
		for _, p := range r.never {
			counts[p.state]++
		}
		return counts
	}
	t.Run("all", func(t *testing.T) {
		require.Empty(t, never(t, func(*Harness) {}))
	})
	t.Run("without the hook", func(t *testing.T) {
		require.Empty(t, never(t, func(h *Harness) { h.Force = nil }))
	})
	t.Run("a state that the harness cannot bring about", func(t *testing.T) {
		require.Empty(t, never(t, func(h *Harness) {
			force := h.Force
			h.Force = func(ctx context.Context, p univirt.Provider, id string, state compute.State) error {
				if state == compute.Failed {
					return errors.ErrUnsupported
				}
				return force(ctx, p, id, state)
			}
		}))
	})
	t.Run("a state that the harness brings about only once", func(t *testing.T) {
		counts := never(t, func(h *Harness) {
			force := h.Force
			var forced atomic.Int32
			h.Force = func(ctx context.Context, p univirt.Provider, id string, state compute.State) error {
				if state == compute.Failed && forced.Add(1) > 1 {
					return errors.ErrUnsupported
				}
				return force(ctx, p, id, state)
			}
		})
		require.Len(t, counts, 1)
		require.Positive(t, counts[compute.Failed])
	})
}

// TestModelIsReproducible holds that a seed names a sequence.
func TestModelIsReproducible(t *testing.T) {
	example := func(seed int) string {
		return sequenceString(sequences(modelActions, 30, openings(nil))(uint64(seed)).Example(seed))
	}
	require.Equal(t, example(4711), example(4711))
	require.NotEqual(t, example(4711), example(4712))
}
