package fake_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/resource"
)

// TestListsAreThoseOfAPlainLoop compares the indexes with looking at everything.
func TestListsAreThoseOfAPlainLoop(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		p := fake.Test(t, fake.Options{})
		labels := rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "c"}), rapid.SampledFrom([]string{"", "x", "y"}), 0, 3)
		model := map[string]resource.Labels{}
		name := rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("web-%d", rapid.IntRange(0, 9).Draw(t, "n")) })
		t.Repeat(map[string]func(*rapid.T){
			"create": func(t *rapid.T) {
				n, l := name.Draw(t, "name"), labels.Draw(t, "labels")
				_, err := p.Instances().Create(ctx, compute.Spec{Name: n, Image: "app", Labels: l})
				_, taken := model[n]
				require.Equal(t, taken, err != nil)
				if !taken {
					model[n] = l
				}
			},
			"delete": func(t *rapid.T) {
				n := name.Draw(t, "name")
				inst, err := p.Instances().Get(ctx, n)
				_, there := model[n]
				require.Equal(t, there, err == nil)
				if there {
					require.NoError(t, inst.Delete(ctx, compute.DeleteOptions{}))
					delete(model, n)
				}
			},
			"relabel": func(t *rapid.T) {
				n, l := name.Draw(t, "name"), labels.Draw(t, "labels")
				if _, there := model[n]; !there {
					return
				}
				inst, err := p.Instances().Get(ctx, n)
				require.NoError(t, err)
				patch := resource.LabelPatch{}
				for key := range model[n] {
					patch[key] = nil
				}
				for key, value := range l {
					patch[key] = &value
				}
				require.NoError(t, inst.Update(ctx, compute.Change{Labels: patch}))
				model[n] = l
			},
			"": func(t *rapid.T) {
				selector := resource.Select(rapid.SliceOfN(requirement, 0, 3).Draw(t, "selector")...)
				filter := compute.Filter{Selector: selector, Names: rapid.SliceOfN(name, 0, 2).Draw(t, "names")}
				var want []string
				for n, l := range model {
					if selector.Matches(l) && (len(filter.Names) == 0 || slices.Contains(filter.Names, n)) {
						want = append(want, n)
					}
				}
				var got []string
				for info, err := range p.Instances().List(ctx, filter) {
					require.NoError(t, err)
					got = append(got, info.Ref.Name)
				}
				require.ElementsMatch(t, want, got, selector.String())
			},
		})
	})
}

var requirement = rapid.Custom(func(t *rapid.T) resource.Requirement {
	key := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "key")
	values := rapid.SliceOfN(rapid.SampledFrom([]string{"", "x", "y", "z"}), 1, 3).Draw(t, "values")
	switch rapid.IntRange(0, 5).Draw(t, "operator") {
	case 0:
		return resource.Equals(key, values[0])
	case 1:
		return resource.NotEquals(key, values[0])
	case 2:
		return resource.In(key, values...)
	case 3:
		return resource.NotIn(key, values...)
	case 4:
		return resource.Exists(key)
	}
	return resource.DoesNotExist(key)
})
