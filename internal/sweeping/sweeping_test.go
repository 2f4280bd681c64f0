package sweeping

import (
	"context"
	"errors"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/resource"
)

func TestASweepReports(t *testing.T) {
	broken := errors.New("is broken")
	outcomes := map[string]error{"gone": nil, "faster": errdefs.ErrNotFound, "kept": broken}
	s := New(univirt.SweepOptions{})
	require.NoError(t, s.Step(t.Context(), func(ctx context.Context) error {
		for name, err := range outcomes {
			s.Take(ctx, resource.Ref{Name: name}, func() error { return err })
		}
		return nil
	}))
	report := s.Report()
	assert.Equal(t, []resource.Ref{{Name: "gone"}}, report.Removed)
	require.Len(t, report.Failed, 1)
	assert.Equal(t, "kept", report.Failed[0].Ref.Name)
	require.ErrorIs(t, report.Failed[0].Err, broken)
	require.ErrorIs(t, s.Step(t.Context(), func(context.Context) error { return broken }), broken)
}

func TestADryRunRemovesNothing(t *testing.T) {
	s := New(univirt.SweepOptions{DryRun: true})
	require.NoError(t, s.Step(t.Context(), func(ctx context.Context) error {
		s.Take(ctx, resource.Ref{Name: "web"}, func() error { t.Error("removed"); return nil })
		return nil
	}))
	assert.Len(t, s.Report().Removed, 1)
}

func TestASweepThatEndsTakesNoMore(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := New(univirt.SweepOptions{})
	require.NoError(t, s.Step(ctx, func(ctx context.Context) error {
		s.Take(ctx, resource.Ref{Name: "web"}, func() error { t.Error("removed"); return nil })
		return nil
	}))
	assert.Empty(t, s.Report())
}

func TestMine(t *testing.T) {
	assert.True(t, New(univirt.SweepOptions{}).Mine("web"))
	assert.True(t, New(univirt.SweepOptions{Owner: "web"}).Mine("web"))
	assert.False(t, New(univirt.SweepOptions{Owner: "web"}).Mine("db"))
}

func TestLasting(t *testing.T) {
	a, b, c := resource.Ref{ID: "a"}, resource.Ref{ID: "b"}, resource.Ref{ID: "c"}
	fault := errors.New("no answer")
	for name, test := range map[string]struct {
		looks [][]resource.Ref
		errs  []error
		want  []resource.Ref
		err   error
		left  int
	}{
		"nothing is not looked for again": {looks: [][]resource.Ref{nil, {a}}, left: 1},
		"what is there twice":             {looks: [][]resource.Ref{{a, b}, {b, c}}, want: []resource.Ref{b}},
		"what was there once":             {looks: [][]resource.Ref{{a}, {}}, want: []resource.Ref{}},
		"a failure at first":              {looks: [][]resource.Ref{{a}, {a}}, errs: []error{fault}, want: []resource.Ref{a}, err: fault, left: 1},
		"a failure later":                 {looks: [][]resource.Ref{{a, b}, {b}}, errs: []error{nil, fault}, want: []resource.Ref{b}, err: fault},
	} {
		t.Run(name, func(t *testing.T) {
			looks := 0
			got, err := Lasting(func() ([]resource.Ref, error) {
				looks++
				if looks > len(test.errs) {
					return test.looks[looks-1], nil
				}
				return test.looks[looks-1], test.errs[looks-1]
			})
			require.ErrorIs(t, err, test.err)
			require.Equal(t, test.want, got)
			require.Len(t, test.looks[looks:], test.left)
		})
	}
}
