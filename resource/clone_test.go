package resource_test

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/univirt/univirt/resource"
)

func TestCloneSharesNothing(t *testing.T) {
	build := func() wish {
		size := 3
		return wish{
			Name:    "web",
			Size:    1,
			Tags:    []string{"a", "b"},
			Labels:  map[string]string{"a": "1"},
			Limits:  map[string]limit{"a": {Soft: 1, Names: []string{"x"}}},
			Address: netip.MustParseAddr("192.0.2.1"),
			Until:   time.Unix(1, 0),
			Secret:  resource.NewSecret("s"),
			Part:    part{Count: 1, Args: []string{"a"}},
			Check:   &part{Args: []string{"b"}, Deep: &deep{Values: []int{1}}},
			Mounts:  []part{{Args: []string{"c"}}, {Deep: &deep{Values: []int{2}}}},
			Number:  &size,
			Pair:    [2][]int{{1}, {2}},
			Lists:   [][]string{{"a"}, {"b"}},
			Any:     "any",
		}
	}
	original := build()
	copied := resource.Clone(original)
	assert.Equal(t, build(), copied)

	copied.Tags[0] = "changed"
	copied.Labels["a"] = "changed"
	copied.Limits["a"].Names[0] = "changed"
	copied.Part.Args[0] = "changed"
	copied.Check.Args[0] = "changed"
	copied.Check.Deep.Values[0] = 9
	copied.Mounts[0].Args[0] = "changed"
	copied.Mounts[1].Deep.Values[0] = 9
	*copied.Number = 9
	copied.Pair[0][0] = 9
	copied.Lists[0][0] = "changed"
	assert.Equal(t, build(), original)
}

func TestCloneKeepsNilAndEmptyApart(t *testing.T) {
	copied := resource.Clone(wish{Tags: []string{}, Labels: map[string]string{}})
	assert.NotNil(t, copied.Tags)
	assert.NotNil(t, copied.Labels)
	copied = resource.Clone(wish{})
	assert.Nil(t, copied.Tags)
	assert.Nil(t, copied.Labels)
	assert.Nil(t, copied.Check)
	assert.Equal(t, wish{}, copied)
}

func TestCloneAssignsWhatItCannotLookInto(t *testing.T) {
	type holder struct {
		Lock *sync.Mutex
		Func func()
		Any  any
	}
	shared := map[string]int{"a": 1}
	original := holder{Lock: new(sync.Mutex), Func: func() {}, Any: shared}
	copied := resource.Clone(original)
	assert.Same(t, original.Lock, copied.Lock, "a copied lock would be another lock")
	assert.NotNil(t, copied.Func)
	shared["a"] = 2
	assert.Equal(t, 2, copied.Any.(map[string]int)["a"])

	pointer := resource.Clone(&wish{Tags: []string{"a"}})
	assert.Equal(t, []string{"a"}, pointer.Tags)
}
