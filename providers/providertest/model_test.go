package providertest

import (
	"testing"

	"github.com/univirt/univirt/compute"
)

func TestModelFake(t *testing.T) {
	Model(t, fakeHarness(t, compute.Container), ModelOptions{Sequences: modelSequences(10_000, 500), Steps: 30})
}

func TestModelFakeVM(t *testing.T) {
	Model(t, fakeHarness(t, compute.VM), ModelOptions{Sequences: modelSequences(2_000, 300), Steps: 30})
}

// modelSequences are fewer with -short.
func modelSequences(n, short int) int {
	if testing.Short() {
		return short
	}
	return n
}
