package univirt_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/resource"
)

type able struct{ univirt.Provider }

var (
	_ univirt.Sweeper = able{}
	_ univirt.Adopter = able{}
)

func (able) Sweep(_ context.Context, opts univirt.SweepOptions) (univirt.SweepReport, error) {
	return univirt.SweepReport{Removed: []resource.Ref{{Name: opts.Owner}}}, nil
}

func (able) Adopt(_ context.Context, foreign resource.Ref, opts univirt.AdoptOptions) (resource.Ref, error) {
	foreign.Name = opts.Name
	return foreign, nil
}

type wrapped struct{ univirt.Provider }

func (w wrapped) Unwrap() univirt.Provider { return w.Provider }

func TestHelpersFindExtensionsThroughWrappers(t *testing.T) {
	for _, p := range []univirt.Provider{able{}, wrapped{able{}}, wrapped{wrapped{wrapped{able{}}}}} {
		report, err := univirt.Sweep(t.Context(), p, univirt.SweepOptions{Owner: "me"})
		require.NoError(t, err)
		assert.Equal(t, []resource.Ref{{Name: "me"}}, report.Removed)
		ref, err := univirt.Adopt(t.Context(), p, resource.Ref{ID: "1"}, univirt.AdoptOptions{Name: "web"})
		require.NoError(t, err)
		assert.Equal(t, resource.Ref{ID: "1", Name: "web"}, ref)
	}
}

func TestHelpersWithoutExtension(t *testing.T) {
	for _, p := range []univirt.Provider{wrapped{}, wrapped{wrapped{}}} {
		_, err := univirt.Sweep(t.Context(), p, univirt.SweepOptions{})
		assert.ErrorIs(t, err, errors.ErrUnsupported)
		assert.EqualError(t, err, "sweep: sweep is not supported")
		_, err = univirt.Adopt(t.Context(), p, resource.Ref{Kind: resource.KindInstance, Name: "web"}, univirt.AdoptOptions{})
		assert.ErrorIs(t, err, errors.ErrUnsupported)
		assert.EqualError(t, err, `adopt instance "web": adopt is not supported`)
	}
}
