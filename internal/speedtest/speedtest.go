// Package speedtest measures ways to do the same in turns, so that what counts is
// their ratio.
package speedtest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Pairs is how many rounds there are.
const Pairs = 31

// Way is a way to do something.
type Way struct {
	Name string
	Do   func(ctx context.Context) error
	// Worst is the bound of the median of its ratios to the second way; 0 is none.
	Worst float64
}

// Race lets the ways do it in turns, each time in another order, and
// reports their medians and those of the ratios to the second one. It returns the
// ratios.
func Race(t *testing.T, rounds int, all ...Way) []float64 {
	t.Helper()
	times := make([][]float64, len(all))
	for round := range rounds + 1 {
		order := make([]int, len(all))
		for i := range order {
			order[i] = (i + round) % len(all)
		}
		for _, i := range order {
			began := time.Now()
			require.NoError(t, all[i].Do(t.Context()), all[i].Name)
			if round > 0 { // the first one warms up
				times[i] = append(times[i], time.Since(began).Seconds()*1000)
			}
		}
	}
	medians := make([]float64, len(all))
	for i, c := range all {
		ratios := make([]float64, rounds)
		for n := range ratios {
			ratios[n] = times[i][n] / times[1][n]
		}
		median, low, high := medianOf(ratios)
		ms, msLow, msHigh := medianOf(times[i])
		t.Logf("%-12s %7.1f ms [%.1f, %.1f]   ratio %.2f [%.2f, %.2f]", c.Name, ms, msLow, msHigh, median, low, high)
		medians[i] = median
	}
	return medians
}

// Within requires the ratios to be within the ways' bounds. Where one is
// not, all is measured once more: a busy host disturbs a whole race at times.
func Within(t *testing.T, all ...Way) {
	t.Helper()
	late := func() (faults []string) {
		for i, ratio := range Race(t, Pairs, all...) {
			if bound := all[i].Worst; bound > 0 && ratio > bound {
				faults = append(faults, fmt.Sprintf("%s: the median of the ratios is %.2f, above %.2f", all[i].Name, ratio, bound))
			}
		}
		return faults
	}
	faults := late()
	if len(faults) > 0 {
		t.Log("once more: ", faults)
		faults = late()
	}
	require.Empty(t, faults)
}

// medianOf returns the median and the bounds between which it lies with 95 %
// confidence, which for 31 values are the 10th and the 22nd.
func medianOf(values []float64) (median, low, high float64) {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	from := max(0, n/2-max(1, n*6/Pairs))
	return sorted[n/2], sorted[from], sorted[n-1-from]
}

// Measured skips a test that measures where times mean nothing.
func Measured(t *testing.T) {
	t.Helper()
	if raceDetector {
		t.Skip("short: the race detector distorts times")
	}
	if testing.Short() {
		t.Skip("short: measures for a minute")
	}
}
