package providertest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// fieldCases make a case of every field of a spec: it is either refused by its
// path, or has a place in what Info tells. What an honoured field does is the
// matter of other cases.
func fieldCases() []testCase {
	var cases []testCase
	for _, path := range resource.FieldPaths(compute.Spec{}) {
		set, ok := samples[path]
		if !ok {
			continue
		}
		cases = append(cases, testCase{
			name: fmt.Sprintf("The field %s is honoured or refused as declared", path),
			run:  func(e *env) { fieldAsDeclared(e, path, set) },
		})
	}
	for _, path := range resource.FieldPaths(compute.Change{}) {
		set, ok := changeSamples[path]
		if !ok {
			continue
		}
		cases = append(cases, testCase{
			name: fmt.Sprintf("A change of %s is made or refused as declared", path),
			run:  func(e *env) { changeAsDeclared(e, path, set) },
		})
	}
	return cases
}

func fieldAsDeclared(e *env, path string, set func(*compute.Spec)) {
	spec := e.spec("web", "sleep", "1h")
	set(&spec)
	require.Empty(e, spec.Validate(), "the suite's own sample")
	table := e.s.offer.kindDescription().Fields
	inst, err := e.instances().Create(e.ctx, spec)
	if refused := refusals(table, spec); len(refused) > 0 {
		// A field may make no sense without others, which are then refused too.
		e.failsField(err, errors.ErrUnsupported, refused[0])
		for _, field := range refused {
			require.Contains(e, err.Error(), field, "the message names every field that is refused")
		}
		require.Empty(e, e.names(e.instances(), compute.Filter{}), "what was created")
		if e.offers(compute.FeaturePlan) {
			plan, err := compute.PlanOf(e.ctx, e.instances(), spec)
			require.NoError(e, err)
			require.Subset(e, plan.Gaps, table.Gaps(spec), "a plan tells what Create refuses")
		}
		return
	}
	require.NotEqual(e, resource.FieldRefused, table.Rule(path).Level, "the suite's own sample")
	require.False(e, isUnsupported(err), "%s is declared as %s: %v", path, table.Rule(path).Level, err)
	if err != nil {
		// It names something that is not there, such as a volume.
		e.wellFormed(err)
		if path == "mounts[].source" {
			require.True(e, e.s.offer.desc.Volumes.Features.Has(storage.FeatureVolumes), "where there are no volumes a mount of one is refused: %v", err)
		}
		require.Empty(e, e.names(e.instances(), compute.Filter{}), "what was created")
		return
	}
	info := e.info(inst)
	require.Empty(e, unmet(*info.Spec, spec), "what Info does not tell")
}

// unmet is resource.Unmet but for what no provider may tell.
func unmet(have, want compute.Spec) []string {
	var paths []string
	for _, path := range resource.Unmet(have, want) {
		if path != "native" && !strings.HasSuffix(path, ".secret") && path != "cloudInit.userData" {
			paths = append(paths, path)
		}
	}
	return paths
}

// refusals lists the fields of a spec that a table refuses.
func refusals(table resource.FieldTable, spec any) []string {
	var refused []string
	for _, gap := range table.Gaps(spec) {
		if gap.Level == resource.FieldRefused {
			refused = append(refused, gap.Field)
		}
	}
	return refused
}

func changeAsDeclared(e *env, path string, set func(*compute.Change)) {
	spec := e.spec("web", "sleep", "1h")
	inst := e.create(spec)
	before := e.info(inst)
	var c compute.Change
	set(&c)
	table := e.s.offer.kindDescription().Changeable
	err := inst.Update(e.ctx, c)
	if refused := refusals(table, c); len(refused) > 0 {
		e.failsField(err, errors.ErrUnsupported, refused[0])
		require.Equal(e, before, e.info(inst))
		return
	}
	require.NotEqual(e, resource.FieldRefused, table.Rule(path).Level, "the suite's own sample")
	require.NoError(e, err)
	require.Empty(e, resource.Unmet(*e.info(inst).Spec, c.To(*before.Spec)))
}
