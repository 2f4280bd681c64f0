package providertest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	univirt "github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/storage"
)

// sabotage is one thing that a wrong provider does, and the case that must see
// it.
type sabotage struct {
	says        string
	group, name string
	// plant makes the provider wrong. What is left at the backend by a leak is
	// added to left, and what blocks ends with over.
	plant func(s *saboteur, left *leftThings, over <-chan struct{})
	// seen is what the case must say, where that is not any failure.
	seen string
}

// leftThings are what saboteurs leave at the backend, by namespace.
type leftThings struct {
	mu     sync.Mutex
	things map[string][]string
}

func (l *leftThings) add(namespace, thing string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.things == nil {
		l.things = map[string][]string{}
	}
	l.things[namespace] = append(l.things[namespace], thing)
}

func (l *leftThings) in(namespace string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.things[namespace]...)
}

// TestTheSuiteSeesWhatIsWrong plants one leak of each kind and wrong behaviour of
// each group, and requires a case of the group to fail that does not fail
// otherwise.
func TestTheSuiteSeesWhatIsWrong(t *testing.T) {
	for _, s := range sabotages() {
		t.Run(s.group+"/"+s.says, func(t *testing.T) {
			t.Parallel()
			c := findCase(t, s.group, s.name)
			// Alone the case passes: what it says of the saboteur is the saboteur's.
			honest, kind := offering(t, c)
			defer honest.close(t)
			r := record(honest, c)
			require.False(t, r.Failed(), "the case fails without the saboteur: %s", r.text())

			for _, shared := range []bool{false, true} {
				if shared && s.group != "networks" && s.group != "dial" {
					continue
				}
				wrong, end := sabotaged(t, s, kind)
				defer end()
				wrong.h.Shared = shared
				r = record(wrong, c)
				require.True(t, r.Failed(), "the case %q does not see it, shared: %t", s.name, shared)
				assert.Contains(t, r.text(), s.seen)
			}
		})
	}
}

// TestEveryGroupAndLeakIsSabotaged holds that nothing is left out of the above.
func TestEveryGroupAndLeakIsSabotaged(t *testing.T) {
	wrong := map[string]bool{}
	for _, s := range slices.Concat(wrongLives(), wrongRest(), wrongResources(), wrongSupervision()) {
		wrong[s.group] = true
	}
	// TestTheSuiteSeesWhetherRatesAreHonoured has a provider of its own.
	wrong["rates"] = true
	kinds := map[string]bool{}
	for _, l := range leaks() {
		wrong[l.group] = wrong[l.group] || l.group == "leaks"
		kinds[l.kind] = true
		assert.Contains(t, leakKinds, l.kind, l.says)
	}
	for _, g := range groups() {
		assert.True(t, wrong[g.name], "nothing wrong is planted in the group %q", g.name)
	}
	for _, kind := range leakKinds {
		assert.True(t, kinds[kind], "no leak is planted of the kind %q", kind)
	}
}

// offering returns a suite on the fake, of the first kind of instance that offers
// what a case needs.
func offering(t *testing.T, c testCase) (*suite, compute.Kind) {
	t.Helper()
	var reason string
	for _, kind := range []compute.Kind{compute.Container, compute.VM} {
		s, err := newSuite(t.Context(), fakeHarness(t, kind))
		require.NoError(t, err)
		if reason = s.missing(c); reason == "" {
			return s, kind
		}
		s.close(t)
	}
	require.Fail(t, "the fake offers to no kind of instance what the case needs", "%s: %s", c.name, reason)
	return nil, ""
}

func findCase(t *testing.T, group, name string) testCase {
	t.Helper()
	for _, g := range groups() {
		for _, c := range g.cases {
			if g.name == group && strings.HasPrefix(c.name, name) {
				return c
			}
		}
	}
	t.Fatalf("there is no case %q in %q", name, group)
	return testCase{}
}

// sabotaged returns a suite on a provider that is wrong, which has little
// patience with it.
func sabotaged(t *testing.T, s sabotage, kind compute.Kind) (*suite, func()) {
	t.Helper()
	h := fakeHarness(t, kind)
	h.Patience = 2 * time.Second
	left := &leftThings{}
	over := make(chan struct{})
	open, inventory := h.OpenBeside, h.Inventory
	h.Open = func(ctx context.Context, opts OpenOptions) (univirt.Provider, error) { return h.OpenBeside(ctx, opts) }
	h.OpenBeside = func(ctx context.Context, opts OpenOptions, others ...network.Networks) (univirt.Provider, error) {
		p, err := open(ctx, opts, others...)
		if err != nil {
			return nil, err
		}
		wrong := &saboteur{Provider: p, namespace: opts.Namespace}
		s.plant(wrong, left, over)
		return wrong, nil
	}
	h.Inventory = func(ctx context.Context, namespace string) ([]string, error) {
		items, err := inventory(ctx, namespace)
		return append(items, left.in(namespace)...), err
	}
	wrong, err := newSuite(t.Context(), h)
	require.NoError(t, err)
	return wrong, func() {
		close(over)
		// What the saboteur left may be what cannot be cleaned up.
		wrong.close(&recorder{name: "clean-up"})
	}
}

// TestTheSuiteSeesWhatIsLeftWithAWorker holds that a case leaves nothing where it worked,
// and that the next has another worker if it did.
func TestTheSuiteSeesWhatIsLeftWithAWorker(t *testing.T) {
	c := findCase(t, "volumes", "A volume's use is told")
	for _, leaves := range []bool{false, true} {
		left := &leftThings{}
		h := fakeHarness(t, compute.VM)
		h.Shared, h.Patience = true, 2*time.Second
		open, inventory := h.Open, h.Inventory
		h.Open = func(ctx context.Context, opts OpenOptions) (univirt.Provider, error) {
			p, err := open(ctx, opts)
			wrong := &saboteur{Provider: p, namespace: opts.Namespace}
			withVolumes(func(ctx context.Context, real storage.Volumes, spec storage.Spec) (storage.Volume, error) {
				if leaves {
					left.add(opts.Namespace, "content")
				}
				return real.Create(ctx, spec)
			})(wrong, left, nil)
			return wrong, err
		}
		h.Inventory = func(ctx context.Context, namespace string) ([]string, error) {
			items, err := inventory(ctx, namespace)
			return append(items, left.in(namespace)...), err
		}
		s, err := newSuite(t.Context(), h)
		require.NoError(t, err)
		var workers []string
		for range 2 {
			r := record(s, c)
			require.Equal(t, leaves, r.Failed(), r.text())
			if leaves {
				assert.Contains(t, r.text(), "left something at the backend")
			}
			workers = append(workers, s.workshop.lane.worker)
		}
		assert.Equal(t, leaves, workers[0] != workers[1])
		s.close(t)
	}
}

// TestTheSuiteCountsWhatRan holds that a feature that is declared and never tried
// is missed.
func TestTheSuiteCountsWhatRan(t *testing.T) {
	count := newTally()
	count.ran("exec", has(compute.FeatureExec))
	count.skipped("stats", "it is Monday")
	assert.True(t, count.tried(has(compute.FeatureExec)[0]))
	assert.False(t, count.tried(has(compute.FeatureStats)[0]))
	report := strings.Join(count.report([]caseGroup{{name: "exec"}, {name: "stats"}}), "\n")
	assert.Contains(t, report, fmt.Sprintf("%-12s %3d ran", "exec", 1))
	assert.Contains(t, report, "1 left out")
	assert.Contains(t, report, "it is Monday")
}
