package resource_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/resource"
)

type note struct {
	Name   string            `json:"name"`
	Size   int64             `json:"size,omitempty"`
	Share  float64           `json:"share,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
	Secret resource.Secret   `json:"secret,omitzero"`
	Life   resource.Lifetime `json:"life,omitzero"`
	Parts  []part            `json:"parts,omitempty"`
}

func TestSpecRoundTrip(t *testing.T) {
	for want, spec := range map[string]note{
		`{"apiVersion":"univirt.io/v1alpha1","kind":"volume","spec":{"name":""}}`: {},
		`{"apiVersion":"univirt.io/v1alpha1","kind":"volume","spec":{"name":"a<b>&c","size":9223372036854775807,` +
			`"labels":{"a":"1","b":"2"},"life":{"until":"2026-01-02T03:04:05.000000006Z"},"parts":[{"count":1},{}]}}`: {
			Name: "a<b>&c", Size: math.MaxInt64, Labels: map[string]string{"b": "2", "a": "1"},
			Life:  resource.Until(time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)),
			Parts: []part{{Count: 1}, {}},
		},
	} {
		data, err := resource.MarshalSpec(resource.KindVolume, spec)
		require.NoError(t, err)
		assert.Equal(t, want, string(data))
		for range 10 {
			again, err := resource.MarshalSpec(resource.KindVolume, resource.Clone(spec))
			require.NoError(t, err)
			require.Equal(t, data, again, "equal specs give equal bytes")
		}
		var back note
		require.NoError(t, resource.UnmarshalSpec(data, resource.KindVolume, &back))
		assert.Equal(t, spec, back)
	}
}

func TestDocumentsHoldNoSecret(t *testing.T) {
	data, err := resource.MarshalSpec(resource.KindVolume, note{Name: "a", Secret: resource.NewSecret("hunter2")})
	require.NoError(t, err)
	assert.NotContains(t, string(data), "hunter2")
	var back note
	require.NoError(t, resource.UnmarshalSpec(data, resource.KindVolume, &back))
	assert.True(t, back.Secret.Redacted())
}

func TestMarshalSpecRefuses(t *testing.T) {
	for _, spec := range []any{
		note{Share: math.NaN()}, note{Share: math.Inf(1)}, note{Life: resource.Until(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC))}, func() {},
	} {
		_, err := resource.MarshalSpec(resource.KindVolume, spec)
		assert.True(t, errdefs.IsInvalidArgument(err), "%v", err)
	}
}

func TestUnmarshalSpecRefuses(t *testing.T) {
	document := func(spec string) string {
		return `{"apiVersion":"univirt.io/v1alpha1","kind":"volume","spec":` + spec + `}`
	}
	deep := strings.Repeat(`{"parts":[`, 20000)
	for _, c := range []struct {
		name, text, field string
		kind              error
	}{
		{"nothing", ``, "", errdefs.ErrInvalidArgument},
		{"no JSON", `name: web`, "", errdefs.ErrInvalidArgument},
		{"cut", document(`{"name":"a"}`)[:40], "", errdefs.ErrInvalidArgument},
		{"null", `null`, "apiVersion", errdefs.ErrFailedPrecondition},
		{"a list", `[]`, "", errdefs.ErrInvalidArgument},
		{"no version", `{"kind":"volume","spec":{"name":"a"}}`, "apiVersion", errdefs.ErrFailedPrecondition},
		{"a newer version", `{"apiVersion":"univirt.io/v2","kind":"volume","spec":{},"more":1}`, "apiVersion", errdefs.ErrFailedPrecondition},
		{"a hostile version", `{"apiVersion":"\n\u001b[31m","kind":"volume","spec":{}}`, "apiVersion", errdefs.ErrFailedPrecondition},
		{"a version that is no text", `{"apiVersion":1,"kind":"volume","spec":{}}`, "", errdefs.ErrInvalidArgument},
		{"no kind", `{"apiVersion":"univirt.io/v1alpha1","spec":{}}`, "kind", errdefs.ErrInvalidArgument},
		{"another kind", `{"apiVersion":"univirt.io/v1alpha1","kind":"network","spec":{}}`, "kind", errdefs.ErrInvalidArgument},
		{"no spec", `{"apiVersion":"univirt.io/v1alpha1","kind":"volume"}`, "spec", errdefs.ErrInvalidArgument},
		{"spec null", document(`null`), "spec", errdefs.ErrInvalidArgument},
		{"spec a list", document(`[]`), "spec", errdefs.ErrInvalidArgument},
		{"spec a text", document(`"{}"`), "spec", errdefs.ErrInvalidArgument},
		{"unknown field", document(`{"name":"a","nope":1}`), "spec", errdefs.ErrInvalidArgument},
		{"unknown field within", document(`{"name":"a","parts":[{"nope":1}]}`), "spec", errdefs.ErrInvalidArgument},
		{"unknown field of the envelope", `{"apiVersion":"univirt.io/v1alpha1","kind":"volume","spec":{},"status":{}}`, "", errdefs.ErrInvalidArgument},
		{"wrong type", document(`{"name":1}`), "spec", errdefs.ErrInvalidArgument},
		{"a number too large", document(`{"size":9223372036854775808}`), "spec", errdefs.ErrInvalidArgument},
		{"a fraction", document(`{"size":1.5}`), "spec", errdefs.ErrInvalidArgument},
		{"trailing text", document(`{"name":"a"}`) + `x`, "", errdefs.ErrInvalidArgument},
		{"a second document", document(`{"name":"a"}`) + "\n" + document(`{"name":"b"}`), "", errdefs.ErrInvalidArgument},
		{"a key twice", document(`{"name":"a","name":"b"}`), "", errdefs.ErrInvalidArgument},
		{"a key twice, written in two ways", document(`{"name":"a","n\u0061me":"b"}`), "", errdefs.ErrInvalidArgument},
		{"a key twice within", document(`{"labels":{"a":"1","b":"2","a":"3"}}`), "", errdefs.ErrInvalidArgument},
		{"a field in capitals", document(`{"NAME":"a"}`), "spec", errdefs.ErrInvalidArgument},
		{"a field twice, once in capitals", document(`{"name":"a","NAME":"b"}`), "spec", errdefs.ErrInvalidArgument},
		{"a field in capitals within", document(`{"name":"a","parts":[{"Count":1}]}`), "spec", errdefs.ErrInvalidArgument},
		{"the envelope in capitals", `{"apiVersion":"univirt.io/v1alpha1","kind":"volume","SPEC":{}}`, "", errdefs.ErrInvalidArgument},
		{"the version twice", `{"apiVersion":"univirt.io/v2","apiVersion":"univirt.io/v1alpha1","kind":"volume","spec":{}}`, "", errdefs.ErrInvalidArgument},
		{"no UTF-8", document("{\"name\":\"a\xff\"}"), "", errdefs.ErrInvalidArgument},
		{"too deep", document(deep), "", errdefs.ErrInvalidArgument},
	} {
		t.Run(c.name, func(t *testing.T) {
			var into note
			err := resource.UnmarshalSpec([]byte(c.text), resource.KindVolume, &into)
			require.ErrorIs(t, err, c.kind)
			var e *resource.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, "decode", e.Op)
			assert.Equal(t, c.field, e.Field)
			assert.NotContains(t, err.Error(), "\x1b")
			assert.NotContains(t, err.Error(), "\n")
		})
	}
}

func TestUnmarshalSpecTakesEqualKeysOfDifferentObjects(t *testing.T) {
	var into note
	require.NoError(t, resource.UnmarshalSpec([]byte(`{"apiVersion":"univirt.io/v1alpha1","kind":"volume","spec":
		{"name":"name","labels":{"name":"name","NAME":"Size","size":"1"},"parts":[{"count":1},{"count":1,"args":["count","count"]}],"size":1}}`),
		resource.KindVolume, &into))
	assert.Equal(t, note{
		Name: "name", Size: 1, Labels: map[string]string{"name": "name", "NAME": "Size", "size": "1"},
		Parts: []part{{Count: 1}, {Count: 1, Args: []string{"count", "count"}}},
	}, into)
}

func TestUnmarshalSpecOfAnErrorOfTheSpec(t *testing.T) {
	type picky struct {
		Selector resource.Selector `json:"selector"`
	}
	err := resource.UnmarshalSpec([]byte(`{"apiVersion":"univirt.io/v1alpha1","kind":"volume","spec":{"selector":"a b"}}`),
		resource.KindVolume, &picky{})
	assert.True(t, errdefs.IsInvalidArgument(err))
	assert.NotErrorIs(t, err, errors.ErrUnsupported)
}

func FuzzUnmarshalSpec(f *testing.F) {
	for _, seed := range []string{
		`{"apiVersion":"univirt.io/v1alpha1","kind":"volume","spec":{"name":"a","size":1,"labels":{"a":"1"},"secret":"x"}}`,
		`{"apiVersion":"univirt.io/v1alpha1","kind":"volume","spec":{"life":{"until":"2026-01-02T03:04:05Z"},"parts":[{},{"deep":{}}]}}`,
		`{"apiVersion":"univirt.io/v1alpha1","kind":"volume","spec":{"name":"a","size":"b"},"SPEC":{"size":1}}`,
		`{"apiVersion":"univirt.io/v1alpha1","kind":"volume","spec":{"name":"a"},"spec":{}}`,
		`{"apiVersion":"univirt.io/v1alpha1","kind":"volume","spec": null}`,
		`{"apiVersion":"univirt.io/v2"}`, `{}`, `null`, `[]`, ``, `{"apiVersion":"univirt.io/v1alpha1","kind":"volume","spec":{"name":"\ud800"}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var spec, spaced note
		err := resource.UnmarshalSpec(data, resource.KindVolume, &spec)
		// The envelope of a document that is not in its canonical form is read too.
		spacedErr := resource.UnmarshalSpec(append([]byte(" "), data...), resource.KindVolume, &spaced)
		require.Equal(t, fmt.Sprint(err), fmt.Sprint(spacedErr))
		if err != nil {
			var e *resource.Error
			require.ErrorAs(t, err, &e)
			require.NotNil(t, e.Kind)
			return
		}
		require.Equal(t, spec, spaced)
		require.True(t, json.Valid(data))
		canonical, err := resource.MarshalSpec(resource.KindVolume, spec)
		require.NoError(t, err)
		var again note
		require.NoError(t, resource.UnmarshalSpec(canonical, resource.KindVolume, &again))
		once, err := resource.MarshalSpec(resource.KindVolume, again)
		require.NoError(t, err)
		assert.Equal(t, string(canonical), string(once))
	})
}

func BenchmarkUnmarshalSpec(b *testing.B) {
	data, err := resource.MarshalSpec(resource.KindVolume, note{
		Name: "web", Size: 1, Labels: map[string]string{"a": "1", "b": "2", "c": "3"}, Parts: []part{{Count: 1}, {Count: 2}},
	})
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		var spec note
		if err := resource.UnmarshalSpec(data, resource.KindVolume, &spec); err != nil {
			b.Fatal(err)
		}
	}
}
