package providertest

import (
	"context"
	"iter"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// TestDifferentialFake compares the fake with itself, behind a wrapper.
func TestDifferentialFake(t *testing.T) {
	h := sabotagedHarness(t, func(*saboteur) {})
	Differential(t, h, fakeHarness(t, compute.Container), DifferentialOptions{Programs: modelSequences(1_000, 100)})
}

// TestDifferentialFindsMistakes plants one mistake after the other in one of the
// two, and sees each found and shown by few steps.
func TestDifferentialFindsMistakes(t *testing.T) {
	for _, x := range append(modelSabotages(), modelSabotage{
		"a log line that is lost", "logs", func(s *saboteur) {
			s.logs = func(ctx context.Context, real compute.Instance, opts compute.LogOptions) iter.Seq2[compute.LogLine, error] {
				return func(yield func(compute.LogLine, error) bool) {
					for line, err := range compute.Logs(ctx, real, opts) {
						if (line.Stream != compute.Stderr || err != nil) && !yield(line, err) {
							return
						}
					}
				}
			}
		},
	}, modelSabotage{
		"an error of another kind", "failed precondition", func(s *saboteur) {
			s.pause = func(ctx context.Context, real compute.Instance) error {
				err := compute.Pause(ctx, real)
				if re, ok := err.(*resource.Error); ok {
					return resource.Fail("pause", re.Ref, resource.Unsupported("pause", ""))
				}
				return err
			}
		},
	}) {
		t.Run(x.name, func(t *testing.T) {
			h := sabotagedHarness(t, x.plant)
			r, err := runDifferential(t.Context(), h, fakeHarness(t, compute.Container),
				DifferentialOptions{Programs: untilFound, Shrink: time.Minute})
			require.NoError(t, err)
			require.NotNil(t, r.found, "the mistake was not found")
			require.Contains(t, r.found.String(), " | ", "both are shown")
			require.LessOrEqual(t, len(r.found.steps), fewSteps, "the program could be shorter:\n%s", r.found)
		})
	}
}
