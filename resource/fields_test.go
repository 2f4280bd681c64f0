package resource_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/resource"
)

// wish is a spec with every shape that a field may have.
type wish struct {
	Name    string            `json:"name"`
	Size    int64             `json:"size,omitempty"`
	Tags    []string          `json:"tags,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	Limits  map[string]limit  `json:"limits,omitempty"`
	Address netip.Addr        `json:"address,omitzero"`
	Until   time.Time         `json:"until,omitzero"`
	Secret  resource.Secret   `json:"secret,omitzero"`
	Part    part              `json:"part,omitzero"`
	Check   *part             `json:"check,omitempty"`
	Mounts  []part            `json:"mounts,omitempty"`
	Number  *int              `json:"number,omitempty"`
	Pair    [2][]int          `json:"pair,omitzero"`
	Lists   [][]string        `json:"lists,omitempty"`
	Any     any               `json:"any,omitempty"`
	Choice  resource.Selector `json:"choice,omitzero"`
	Life    resource.Lifetime `json:"life,omitzero"`
	Plain   string            // its name is the field's
	Skipped string            `json:"-"`
	hidden  string
}

type part struct {
	Count int      `json:"count,omitempty"`
	Args  []string `json:"args,omitempty"`
	Deep  *deep    `json:"deep,omitempty"`
}

type deep struct {
	Values []int `json:"values,omitempty"`
}

type limit struct {
	Soft  int      `json:"soft"`
	Names []string `json:"names,omitempty"`
}

func TestFieldPaths(t *testing.T) {
	want := []string{
		"name", "size", "tags", "labels", "limits", "address", "until", "secret",
		"part.count", "part.args", "part.deep.values",
		"check.count", "check.args", "check.deep.values",
		"mounts[].count", "mounts[].args", "mounts[].deep.values",
		"number", "pair", "lists", "any", "choice", "life.ephemeral", "life.until", "Plain",
	}
	assert.Equal(t, want, resource.FieldPaths(wish{}))
	assert.Equal(t, want, resource.FieldPaths(&wish{}), "a pointer is as good")
}

func TestFieldPathsRefusesEmbeddedStructs(t *testing.T) {
	type embedding struct{ part }
	type Embedded struct{ Count int }
	type exported struct{ Embedded }
	assert.Empty(t, resource.FieldPaths(embedding{}), "a hidden one is not there")
	assert.Panics(t, func() { resource.FieldPaths(exported{}) })
}

func TestSetFields(t *testing.T) {
	zero := 0
	for _, c := range []struct {
		name string
		spec wish
		want []string
	}{
		{"nothing", wish{}, nil},
		{"empty is not set", wish{Tags: []string{}, Labels: map[string]string{}, Mounts: []part{}, Part: part{Args: []string{}}}, nil},
		{"hidden and skipped are not there", wish{hidden: "x", Skipped: "x"}, nil},
		{"leaves", wish{Name: "a", Tags: []string{""}, Labels: map[string]string{"": ""}}, []string{"name", "tags", "labels"}},
		{"a pointer to zero is set", wish{Number: &zero}, []string{"number"}},
		{"within structs", wish{Part: part{Count: 1, Deep: &deep{Values: []int{0}}}}, []string{"part.count", "part.deep.values"}},
		{"an empty struct that is there", wish{Check: &part{}}, []string{"check"}},
		{"one with an empty list only", wish{Check: &part{Args: []string{}}}, []string{"check"}},
		{"one within another", wish{Part: part{Deep: &deep{}}}, []string{"part.deep"}},
		{
			"elements", wish{Mounts: []part{{Count: 1}, {}, {Deep: &deep{}}, {Args: []string{"a"}}}},
			[]string{"mounts[0].count", "mounts[1]", "mounts[2].deep", "mounts[3].args"},
		},
		{
			"one value each", wish{
				Address: netip.MustParseAddr("::1"), Until: time.Unix(1, 0), Secret: resource.NewSecret("a"),
				Choice: resource.Select(resource.Exists("a")), Life: resource.Ephemeral,
				Limits: map[string]limit{"a": {}}, Pair: [2][]int{{}, nil}, Lists: [][]string{nil}, Any: 0, Plain: "x",
			},
			[]string{"limits", "address", "until", "secret", "pair", "lists", "any", "choice", "life.ephemeral", "Plain"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.want, resource.SetFields(c.spec))
			assert.Equal(t, c.want, resource.SetFields(&c.spec))
		})
	}
}

func table() resource.FieldTable {
	return resource.FieldTable{}.
		Honored("name", "tags", "mounts[].count", "check.count").
		Hint("the backend decides", "size", "mounts[].args").
		Refused("too old", "until").
		Refused("there are no parts", "part.*").
		Refused("checks need an agent", "check.*", "mounts[].*").
		Refused("not even deep ones", "part.deep.*").
		Refused("the name is taken", "name=taken")
}

func TestFieldTableRule(t *testing.T) {
	for pattern, want := range map[string]resource.FieldRule{
		"name":                 {Level: resource.FieldHonored},
		"size":                 {Level: resource.FieldHint, Reason: "the backend decides"},
		"until":                {Reason: "too old"},
		"labels":               {},
		"":                     {},
		"no.such.field":        {},
		"part.count":           {Reason: "there are no parts"},
		"part.deep.values":     {Reason: "not even deep ones"},
		"part":                 {Reason: "there are no parts"},
		"part.deep":            {Reason: "not even deep ones"},
		"check":                {Level: resource.FieldHonored},
		"check.count":          {Level: resource.FieldHonored},
		"check.args":           {Reason: "checks need an agent"},
		"check.deep":           {Reason: "checks need an agent"},
		"mounts[]":             {Level: resource.FieldHonored},
		"mounts[].count":       {Level: resource.FieldHonored},
		"mounts[].args":        {Level: resource.FieldHint, Reason: "the backend decides"},
		"mounts[].deep.values": {Reason: "checks need an agent"},
		"par":                  {},
		"nam":                  {},
	} {
		assert.Equal(t, want, table().Rule(pattern), pattern)
	}
	// What stands below a pattern can only refuse.
	sly := resource.FieldTable{"part.*": {Level: resource.FieldHonored, Reason: "sly"}}
	assert.Equal(t, resource.FieldRule{Reason: "sly"}, sly.Rule("part.count"))
	assert.Equal(t, resource.FieldRule{Reason: "sly"}, sly.Rule("part"))
}

func TestFieldTableGapsAndRefuse(t *testing.T) {
	for _, c := range []struct {
		name    string
		spec    wish
		gaps    []resource.Gap
		field   string
		message string
	}{
		{name: "nothing set"},
		{name: "all honoured", spec: wish{Name: "a", Tags: []string{"a"}, Mounts: []part{{Count: 1}, {}}, Check: &part{}}},
		{
			name:    "a value of a field that is honoured otherwise",
			spec:    wish{Name: "taken"},
			gaps:    []resource.Gap{{Field: "name", Reason: "the name is taken"}},
			field:   "name",
			message: "name: is not supported: the name is taken",
		},
		{
			name: "hints are no refusal",
			spec: wish{Size: 1, Mounts: []part{{}, {Args: []string{"a"}}}},
			gaps: []resource.Gap{
				{Field: "size", Level: resource.FieldHint, Reason: "the backend decides"},
				{Field: "mounts[1].args", Level: resource.FieldHint, Reason: "the backend decides"},
			},
		},
		{
			name:    "a reason",
			spec:    wish{Until: time.Unix(1, 0)},
			gaps:    []resource.Gap{{Field: "until", Reason: "too old"}},
			field:   "until",
			message: "until: is not supported: too old",
		},
		{
			name:    "an unknown field",
			spec:    wish{Plain: "x"},
			gaps:    []resource.Gap{{Field: "Plain"}},
			field:   "Plain",
			message: "Plain: is not supported",
		},
		{
			name:    "an empty struct",
			spec:    wish{Part: part{Deep: &deep{}}},
			gaps:    []resource.Gap{{Field: "part.deep", Reason: "not even deep ones"}},
			field:   "part.deep",
			message: "part.deep: is not supported: not even deep ones",
		},
		{
			name: "all at once, in the order of the fields",
			spec: wish{Labels: map[string]string{"a": ""}, Size: 1, Part: part{Count: 1}, Mounts: []part{{Count: 1}, {Deep: &deep{Values: []int{1}}}}},
			gaps: []resource.Gap{
				{Field: "size", Level: resource.FieldHint, Reason: "the backend decides"},
				{Field: "labels"},
				{Field: "part.count", Reason: "there are no parts"},
				{Field: "mounts[1].deep.values", Reason: "checks need an agent"},
			},
			field: "labels",
			message: "labels: is not supported; part.count is not supported: there are no parts; " +
				"mounts[1].deep.values is not supported: checks need an agent",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.gaps, table().Gaps(c.spec))
			assert.Equal(t, c.gaps, table().Gaps(&c.spec))
			err := table().Refuse(c.spec)
			if c.field == "" {
				assert.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, errors.ErrUnsupported)
			assert.EqualError(t, err, c.message)
			var e *resource.Error
			require.ErrorAs(t, resource.Fail("create", web, err), &e)
			assert.Equal(t, c.field, e.Field)
			assert.Equal(t, `create instance "web": `+c.message, e.Error())
		})
	}
}

func TestAnEmptyTableRefusesEveryField(t *testing.T) {
	one := 1
	full := wish{
		Name: "a", Size: 1, Tags: []string{"a"}, Labels: map[string]string{"a": ""}, Limits: map[string]limit{"a": {}},
		Address: netip.MustParseAddr("::1"), Until: time.Unix(1, 0), Secret: resource.NewSecret("a"),
		Part: part{1, []string{"a"}, &deep{[]int{1}}}, Check: &part{1, []string{"a"}, &deep{[]int{1}}},
		Mounts: []part{{1, []string{"a"}, &deep{[]int{1}}}}, Number: &one, Pair: [2][]int{{1}}, Lists: [][]string{{"a"}},
		Any: 1, Choice: resource.Select(resource.Exists("a")), Life: resource.Lifetime{Ephemeral: true, Until: time.Unix(1, 0)},
		Plain: "x",
	}
	for _, table := range []resource.FieldTable{nil, {}} {
		assert.Len(t, table.Gaps(full), len(resource.FieldPaths(full)))
	}
	assert.NoError(t, resource.FieldTable{}.Honored(resource.FieldPaths(full)...).Refuse(full))
}

func TestFieldTableUnknown(t *testing.T) {
	assert.Empty(t, table().Unknown(wish{}))
	assert.Equal(t, []string{"Name", "mounts", "mounts.count", "names=x", "nope", "nope.*", "part", "size.*", "tags[]"},
		resource.FieldTable{}.
			Honored("Name", "nope", "mounts", "mounts.count", "tags[]", "part").
			Refused("", "nope.*", "size.*", "part.*", "mounts[].*", "name=x", "names=x").
			Unknown(wish{}))
}

func TestDiff(t *testing.T) {
	until := time.Now()
	for _, c := range []struct {
		name string
		a, b wish
		want []string
	}{
		{"equal", wish{Name: "a"}, wish{Name: "a"}, nil},
		{"empty equals absent", wish{Tags: []string{}, Labels: map[string]string{}, Mounts: []part{}}, wish{}, nil},
		{"leaves", wish{Name: "a", Size: 1}, wish{Name: "b", Tags: []string{"x"}}, []string{"name", "size", "tags"}},
		{"maps", wish{Labels: map[string]string{"a": "1"}}, wish{Labels: map[string]string{"a": "2"}}, []string{"labels"}},
		{"a pointer and nothing", wish{Check: &part{Count: 1}}, wish{}, []string{"check.count"}},
		{"an empty struct and nothing", wish{Check: &part{}}, wish{}, []string{"check"}},
		{"two empty structs", wish{Check: &part{}}, wish{Check: &part{}}, nil},
		{"deep", wish{Check: &part{Deep: &deep{Values: []int{1}}}}, wish{Check: &part{Deep: &deep{}}}, []string{"check.deep.values"}},
		{"elements", wish{Mounts: []part{{Count: 1}, {Count: 2}}}, wish{Mounts: []part{{Count: 1}, {Count: 3}}}, []string{"mounts[1].count"}},
		{"lengths", wish{Mounts: []part{{Count: 1}}}, wish{Mounts: []part{{Count: 1}, {}}}, []string{"mounts"}},
		{"a time and what was read of it", wish{Until: until}, wish{Until: until.Round(0)}, nil},
		{"secrets", wish{Secret: resource.NewSecret("a")}, wish{Secret: resource.NewSecret("b")}, []string{"secret"}},
		{"equal secrets", wish{Secret: resource.NewSecret("a")}, wish{Secret: resource.NewSecret("a")}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.want, resource.Diff(c.a, c.b))
			assert.Equal(t, c.want, resource.Diff(c.b, c.a))
			assert.Equal(t, c.want, resource.Diff(&c.a, &c.b))
		})
	}
}

func TestUnmet(t *testing.T) {
	var redacted resource.Secret
	require.NoError(t, redacted.UnmarshalText([]byte("[redacted]")))
	for _, c := range []struct {
		name       string
		have, want wish
		unmet      []string
	}{
		{"nothing wanted", wish{Name: "a", Size: 1, Mounts: []part{{Count: 1}}, Check: &part{Count: 1}}, wish{}, nil},
		{"choices filled in", wish{Name: "a", Size: 7, Mounts: []part{{Count: 1, Args: []string{"x"}}}}, wish{Name: "a", Mounts: []part{{Count: 1}}}, nil},
		{"differs", wish{Name: "a", Size: 7}, wish{Name: "a", Size: 8}, []string{"size"}},
		{"lacks", wish{}, wish{Size: 8, Part: part{Args: []string{"x"}}}, []string{"size", "part.args"}},
		{"more keys", wish{Labels: map[string]string{"a": "1", "b": "2"}}, wish{Labels: map[string]string{"a": "1"}}, nil},
		{"fewer keys", wish{Labels: map[string]string{"a": "1"}}, wish{Labels: map[string]string{"a": "1", "b": "2"}}, []string{"labels"}},
		{"another value", wish{Labels: map[string]string{"a": "1"}}, wish{Labels: map[string]string{"a": "2"}}, []string{"labels"}},
		{"keys without values", wish{Labels: map[string]string{}}, wish{Labels: map[string]string{"a": ""}}, []string{"labels"}},
		{"map of structs", wish{Limits: map[string]limit{"a": {Soft: 1}}}, wish{Limits: map[string]limit{"a": {Soft: 2}}}, []string{"limits"}},
		{"empty lists", wish{Tags: []string{"a"}, Mounts: []part{{Count: 1}}}, wish{Tags: []string{}, Mounts: []part{}}, nil},
		{"another list", wish{Tags: []string{"a", "b"}}, wish{Tags: []string{"a"}}, []string{"tags"}},
		{"more elements", wish{Mounts: []part{{Count: 1}, {}}}, wish{Mounts: []part{{Count: 1}}}, []string{"mounts"}},
		{"an element", wish{Mounts: []part{{Count: 1}, {Count: 2}}}, wish{Mounts: []part{{Count: 1}, {Count: 3}}}, []string{"mounts[1].count"}},
		{"a struct that is not there", wish{}, wish{Check: &part{Count: 1}}, []string{"check.count"}},
		{"an empty struct that is not there", wish{}, wish{Check: &part{}}, []string{"check"}},
		{"an empty struct and a full one", wish{Check: &part{Count: 1}}, wish{Check: &part{}}, nil},
		{"an empty struct that nobody wants", wish{Check: &part{}}, wish{}, nil},
		{"a secret that is not known any more", wish{Secret: redacted}, wish{Secret: resource.NewSecret("a")}, nil},
		{"another secret", wish{Secret: resource.NewSecret("b")}, wish{Secret: resource.NewSecret("a")}, []string{"secret"}},
		{"no secret", wish{}, wish{Secret: resource.NewSecret("a")}, []string{"secret"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.unmet, resource.Unmet(c.have, c.want))
			assert.Empty(t, resource.Unmet(c.want, c.want), "a spec meets itself")
		})
	}
}

func TestOverlay(t *testing.T) {
	have := wish{Name: "a", Size: 1, Part: part{Count: 1, Args: []string{"x"}}, Tags: []string{"t"}}
	got := resource.Overlay(have, wish{Size: 2, Part: part{Count: 2}})
	assert.Equal(t, wish{Name: "a", Size: 2, Part: part{Count: 2}, Tags: []string{"t"}}, got, "structs are taken whole")
	assert.Equal(t, int64(1), have.Size)
	assert.Equal(t, have, resource.Overlay(have, wish{}))
}

func TestFieldLevelString(t *testing.T) {
	assert.Equal(t, "refused", resource.FieldRefused.String())
	assert.Equal(t, "hint", resource.FieldHint.String())
	assert.Equal(t, "honored", resource.FieldHonored.String())
	assert.Equal(t, "refused", resource.FieldLevel(99).String())
	assert.Equal(t, resource.FieldRefused, resource.FieldTable(nil).Rule("a").Level, "what is not declared is refused")
}
