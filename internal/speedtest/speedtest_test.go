package speedtest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMedian(t *testing.T) {
	values := make([]float64, Pairs)
	for i := range values {
		values[i] = float64(Pairs - i)
	}
	median, low, high := medianOf(values)
	require.Equal(t, []float64{16, 10, 22}, []float64{median, low, high})
	median, low, high = medianOf([]float64{3})
	require.Equal(t, []float64{3, 3, 3}, []float64{median, low, high})
}

func TestRaceTellsTheSlowFromTheFast(t *testing.T) {
	done := [2]int{}
	way := func(n int, takes time.Duration) Way {
		return Way{Do: func(context.Context) error {
			done[n]++
			for began := time.Now(); time.Since(began) < takes; {
				continue
			}
			return nil
		}}
	}
	ratios := Race(t, 5, way(0, 4*time.Millisecond), way(1, time.Millisecond))
	assert.Greater(t, ratios[0], 1.5)
	assert.InDelta(t, 1, ratios[1], 0)
	assert.Equal(t, [2]int{6, 6}, done, "the first round warms up")
}
