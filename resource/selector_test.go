package resource_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/resource"
)

// The table has the forms of Kubernetes' grammar
// (https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#api).
func TestParseSelector(t *testing.T) {
	type requirements = []resource.Requirement
	for _, c := range []struct {
		text      string
		want      requirements
		canonical string
	}{
		{"", nil, ""},
		{" \t\r\n", nil, ""},
		{"x=a", requirements{resource.Equals("x", "a")}, "x=a"},
		{"x==a", requirements{resource.Equals("x", "a")}, "x=a"},
		{" x = a ", requirements{resource.Equals("x", "a")}, "x=a"},
		{"x=", requirements{resource.Equals("x", "")}, "x="},
		{"x= ,z= ", requirements{resource.Equals("x", ""), resource.Equals("z", "")}, "x=,z="},
		{"x!=a", requirements{resource.NotEquals("x", "a")}, "x!=a"},
		{"x != a", requirements{resource.NotEquals("x", "a")}, "x!=a"},
		{"x!=", requirements{resource.NotEquals("x", "")}, "x!="},
		{"x", requirements{resource.Exists("x")}, "x"},
		{"!x", requirements{resource.DoesNotExist("x")}, "!x"},
		{"! x", requirements{resource.DoesNotExist("x")}, "!x"},
		{"x in (a)", requirements{resource.In("x", "a")}, "x in (a)"},
		{"x in(a,b)", requirements{resource.In("x", "a", "b")}, "x in (a,b)"},
		{"x in ( a , b )", requirements{resource.In("x", "a", "b")}, "x in (a,b)"},
		{"x in ()", requirements{resource.In("x", "")}, "x in ()"},
		{"x in (a,)", requirements{resource.In("x", "a", "")}, "x in (a,)"},
		{"x in (,a)", requirements{resource.In("x", "", "a")}, "x in (,a)"},
		{"x notin (a,b)", requirements{resource.NotIn("x", "a", "b")}, "x notin (a,b)"},
		{"x notin\t(a)", requirements{resource.NotIn("x", "a")}, "x notin (a)"},
		{
			"x=a,y!=b,z in (c),!w , v",
			requirements{
				resource.Equals("x", "a"), resource.NotEquals("y", "b"), resource.In("z", "c"),
				resource.DoesNotExist("w"), resource.Exists("v"),
			},
			"x=a,y!=b,z in (c),!w,v",
		},
		// The words of the operators are keys and values too.
		{"in", requirements{resource.Exists("in")}, "in"},
		{"notin", requirements{resource.Exists("notin")}, "notin"},
		{"!in", requirements{resource.DoesNotExist("in")}, "!in"},
		{"in in (in)", requirements{resource.In("in", "in")}, "in in (in)"},
		{"notin=in", requirements{resource.Equals("notin", "in")}, "notin=in"},
		{"exists", requirements{resource.Exists("exists")}, "exists"},
		// A prefix, and keys of this module.
		{"example.com/tier=web", requirements{resource.Equals("example.com/tier", "web")}, "example.com/tier=web"},
		{"univirt.io/owner", requirements{resource.Exists("univirt.io/owner")}, "univirt.io/owner"},
	} {
		t.Run(c.text, func(t *testing.T) {
			s, err := resource.ParseSelector(c.text)
			require.NoError(t, err)
			assert.Equal(t, c.want, s.Requirements())
			assert.Equal(t, c.canonical, s.String())
			assert.Equal(t, len(c.want) == 0, s.IsZero())
			again, err := resource.ParseSelector(s.String())
			require.NoError(t, err)
			assert.Equal(t, s, again)
		})
	}
}

func TestParseSelectorRefuses(t *testing.T) {
	for text, reason := range map[string]string{
		",":           `selector: a key was expected, before ","`,
		"x,":          "selector: a requirement must follow ',', at the end",
		",x":          `selector: a key was expected, before ",x"`,
		"x,,y":        `selector: a key was expected, before ",y"`,
		"!":           "selector: a key must follow '!', at the end",
		"!x=a":        `selector: ',' must follow a requirement, before "=a"`,
		"!!x":         `selector: a key must follow '!', before "!x"`,
		"x!":          `selector: an operator (=, ==, !=, in, notin) must follow the key, before "!"`,
		"x y":         "selector: an operator (=, ==, !=, in, notin) must follow the key, at the end",
		"x=a b":       `selector: ',' must follow a requirement, before "b"`,
		"x=a=b":       `selector: ',' must follow a requirement, before "=b"`,
		"x===a":       `selector: ',' must follow a requirement, before "=a"`,
		"x=!a":        `selector: ',' must follow a requirement, before "!a"`,
		"=a":          `selector: a key was expected, before "=a"`,
		"x in":        "selector: '(' must follow the operator, at the end",
		"x in a":      `selector: '(' must follow the operator, before "a"`,
		"x in (":      "selector: ',' or ')' must follow a value, at the end",
		"x in (a":     "selector: ',' or ')' must follow a value, at the end",
		"x in (a b)":  `selector: ',' or ')' must follow a value, before "b)"`,
		"x in ((a))":  `selector: ',' or ')' must follow a value, before "(a))"`,
		"x IN (a)":    `selector: an operator (=, ==, !=, in, notin) must follow the key, before " (a)"`,
		"x>1":         "",
		"x in (a))":   `selector: ',' must follow a requirement, before ")"`,
		"x exists":    "selector: an operator (=, ==, !=, in, notin) must follow the key, at the end",
		"a/b/c=d":     "selector[0].key: the key's name must consist of letters, digits, '-', '_' and '.'",
		"x=-":         "selector[0].values[0]: the value must begin and end with a letter or a digit",
		"x in (a,-b)": "selector[0].values[1]: the value must begin and end with a letter or a digit",
		"x=a\x00":     "",
		"ü":           "",
		"x=\xff":      "",
		strings.Repeat("a", 64) + "," + strings.Repeat("b", 64): "selector[0].key: the key must have 1 to 63 bytes; " +
			"selector[1].key: the key must have 1 to 63 bytes",
	} {
		t.Run(text, func(t *testing.T) {
			s, err := resource.ParseSelector(text)
			require.Error(t, err)
			assert.True(t, errdefs.IsInvalidArgument(err))
			assert.True(t, s.IsZero())
			if reason != "" {
				assert.EqualError(t, err, reason)
			}
			for _, fault := range resource.FaultsOf(err) {
				assert.True(t, strings.HasPrefix(fault.Field, "selector"), fault.Field)
			}
		})
	}
}

func TestSelectorMatches(t *testing.T) {
	labels := resource.Labels{"tier": "web", "empty": ""}
	for text, want := range map[string]bool{
		"": true, "tier": true, "empty": true, "absent": false, "!absent": true, "!tier": false,
		"tier=web": true, "tier=db": false, "absent=web": false, "empty=": true, "absent=": false,
		"tier!=db": true, "tier!=web": false, "absent!=web": true, "empty!=": false,
		"tier in (db,web)": true, "tier in (db)": false, "absent in (web)": false, "absent in ()": false,
		"tier notin (db)": true, "tier notin (db,web)": false, "absent notin (web)": true,
		"tier=web,!absent": true, "tier=web,absent": false, "Tier": false,
	} {
		s, err := resource.ParseSelector(text)
		require.NoError(t, err)
		assert.Equal(t, want, s.Matches(labels), text)
	}
	assert.False(t, resource.Select(resource.Exists("a")).Matches(nil))
	assert.True(t, resource.Selector{}.Matches(nil))
	assert.False(t, resource.Requirement{Key: "tier", Operator: "like"}.Matches(labels), "an unknown operator matches nothing")
}

func TestSelectorValidate(t *testing.T) {
	s := resource.Select(
		resource.Requirement{},
		resource.Requirement{Key: "a", Operator: resource.OpEquals},
		resource.Requirement{Key: "a", Operator: resource.OpNotEquals, Values: []string{"1", "2"}},
		resource.In("a"),
		resource.NotIn("a"),
		resource.Requirement{Key: "a", Operator: resource.OpExists, Values: []string{"1"}},
		resource.Requirement{Key: "a", Operator: resource.OpDoesNotExist, Values: []string{"b c"}},
		resource.Requirement{Key: "a\n", Operator: "like\n"},
	)
	assert.Equal(t, resource.Faults{
		{Field: "[0].key", Reason: "the key must have 1 to 63 bytes"},
		{Field: "[0].operator", Reason: `is not known: ""`},
		{Field: "[1].values", Reason: `must be exactly one for "="`},
		{Field: "[2].values", Reason: `must be exactly one for "!="`},
		{Field: "[3].values", Reason: `must not be empty for "in"`},
		{Field: "[4].values", Reason: `must not be empty for "notin"`},
		{Field: "[5].values", Reason: `must be empty for "exists"`},
		{Field: "[6].values", Reason: `must be empty for "!"`},
		{Field: "[6].values[0]", Reason: "the value must consist of letters, digits, '-', '_' and '.'"},
		{Field: "[7].key", Reason: "the key must consist of letters, digits, '-', '_' and '.'"},
		{Field: "[7].operator", Reason: `is not known: "like\n"`},
	}, s.Validate())
}

func TestSelectorIsImmutable(t *testing.T) {
	values := []string{"a", "b"}
	own := resource.Requirement{Key: "x", Operator: resource.OpIn, Values: values}
	s := resource.Select(own, resource.In("y", values...), resource.NotIn("z", values...))
	values[0] = "changed"
	s.Requirements()[0].Values[1] = "changed"
	s.Requirements()[1] = resource.Exists("changed")
	assert.Equal(t, "x in (a,b),y in (a,b),z notin (a,b)", s.String())
}

func TestSelectorJSON(t *testing.T) {
	type holder struct {
		Selector resource.Selector `json:"selector,omitzero"`
	}
	data, err := json.Marshal(holder{resource.Select(resource.Equals("tier", "web"), resource.DoesNotExist("old"))})
	require.NoError(t, err)
	assert.JSONEq(t, `{"selector":"tier=web,!old"}`, string(data))
	var back holder
	require.NoError(t, json.Unmarshal(data, &back))
	assert.Equal(t, "tier=web,!old", back.Selector.String())

	data, err = json.Marshal(holder{})
	require.NoError(t, err)
	assert.JSONEq(t, `{}`, string(data))
	assert.Error(t, json.Unmarshal([]byte(`{"selector":"a b"}`), &back))
	assert.Equal(t, "tier=web,!old", back.Selector.String(), "a failed reading changes nothing")
}

func FuzzParseSelector(f *testing.F) {
	for _, seed := range []string{
		"", "x=a", "x==a,y!=b", "x in (a,b),y notin ()", "!x,y", "example.com/a=b", "in in (in)", "x in (", ",", "!", "x=\x00",
		" x = a , ! y ", "x in ((", "x!=!=", strings.Repeat("a,", 100),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := resource.ParseSelector(text)
		if err != nil {
			assert.True(t, errdefs.IsInvalidArgument(err))
			assert.NotEmpty(t, resource.FaultsOf(err))
			return
		}
		assert.Empty(t, s.Validate())
		again, err := resource.ParseSelector(s.String())
		require.NoError(t, err, s.String())
		assert.Equal(t, s, again)
	})
}
