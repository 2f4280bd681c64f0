package providertest_test

import (
	"context"
	"testing"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/providers/providertest"
	"github.com/univirt/univirt/providers/providertest/fakeguest"
)

const image = "docker.io/library/guest:1"

// harness connects the suite with a provider: here with the fake, whose backend
// has the programs of package guest. A real provider brings an image with them.
func harness(t *testing.T) providertest.Harness {
	backend := fake.NewBackend(fake.Options{
		Programs: map[string]fake.Program{providertest.GuestPath: fakeguest.Program()},
		Images:   []fake.Image{{Name: image, Local: true}},
	})
	t.Cleanup(func() { _ = backend.Close() })
	return providertest.Harness{
		Open: func(_ context.Context, opts providertest.OpenOptions) (univirt.Provider, error) {
			return fake.New(fake.Options{Backend: backend, Namespace: opts.Namespace, Owner: opts.Owner}), nil
		},
		Image: image,
	}
}

// A provider's tests are one function. The hooks of Harness that are nil leave
// out the cases that need them, and the run says so.
func ExampleRun() {
	testConformance := func(t *testing.T) {
		providertest.Run(t, harness(t))
	}
	_ = testConformance
}

// Model finds the sequence of operations that nobody thought of.
func ExampleModel() {
	testModel := func(t *testing.T) {
		providertest.Model(t, harness(t), providertest.ModelOptions{Sequences: 200})
	}
	_ = testModel
}

// Differential holds that tests on the fake speak of the real provider, whose
// harness comes first.
func ExampleDifferential() {
	realHarness := harness // of the provider under test
	testDifferential := func(t *testing.T) {
		providertest.Differential(t, realHarness(t), harness(t), providertest.DifferentialOptions{})
	}
	_ = testDifferential
}
