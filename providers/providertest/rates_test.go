package providertest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	univirt "github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// braked makes a provider honour the rates of disks and networks, by a factor
// that is 1 where all is right and there are no bursts. The fake itself has no brakes, and says so.
func braked(factor float64) func(*saboteur, *leftThings, <-chan struct{}) {
	return func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
		s.describe = func(desc univirt.Description) univirt.Description {
			kinds := map[compute.Kind]univirt.KindDescription{}
			for kind, k := range desc.Kinds {
				k.Fields = resource.Clone(k.Fields).
					Honored("resources.diskRead", "resources.diskWrite", "resources.netReceive", "resources.netTransmit")
				kinds[kind] = k
			}
			desc.Kinds = kinds
			return desc
		}
		s.exec = func(ctx context.Context, real compute.Instance, spec compute.ExecSpec) (compute.Execution, error) {
			info, err := real.Info(ctx)
			if err != nil {
				return nil, err
			}
			limits := info.Spec.Resources
			slowest := map[string]int64{
				"fill": limits.DiskWrite, "drain": limits.DiskRead, "send": max(limits.NetTransmit, limits.NetReceive),
			}[spec.Process.Command[1]]
			if slowest > 0 {
				select {
				case <-time.After(time.Duration(factor * float64(rateLimit) / float64(slowest) * float64(time.Second))):
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
			return compute.Exec(ctx, real, spec)
		}
	}
}

// TestTheSuiteSeesWhetherRatesAreHonoured holds the cases against a provider that
// honours rates, one that does not, and one that says that it does not.
func TestTheSuiteSeesWhetherRatesAreHonoured(t *testing.T) {
	for _, c := range rateCases() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			plain, err := newSuite(t.Context(), fakeHarness(t, compute.Container))
			require.NoError(t, err)
			defer plain.close(t)
			assert.NotEmpty(t, plain.missing(c), "of a provider without brakes")
			for says, factor := range map[string]float64{"right": 1, "with a burst": 0.6, "wrong": 0} {
				s, end := sabotaged(t, sabotage{plant: braked(factor)}, compute.Container)
				require.Empty(t, s.missing(c))
				r := record(s, c)
				end()
				assert.Equal(t, says == "wrong", r.Failed(), "%s: %s", says, r.text())
				if says == "wrong" {
					assert.Contains(t, r.text(), "faster than")
				}
			}
		})
	}
}
