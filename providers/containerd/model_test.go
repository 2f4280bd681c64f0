package containerd

import (
	"context"
	"testing"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/providers/providertest"
	"github.com/univirt/univirt/providers/providertest/fakeguest"
)

func TestModel(t *testing.T) {
	providertest.Model(t, harness(t), providertest.ModelOptions{Sequences: modelSequences(200, 8)})
}

// TestDifferential holds that tests on the fake speak of containerd.
func TestDifferential(t *testing.T) {
	t.Parallel()
	b := fake.NewBackend(fake.Options{
		Programs: map[string]fake.Program{providertest.GuestPath: fakeguest.Program()},
		Images:   []fake.Image{{Name: guestName, Local: true}},
	})
	t.Cleanup(func() { _ = b.Close() })
	inMemory := providertest.Harness{
		Image: guestName,
		Open: func(_ context.Context, opts providertest.OpenOptions) (univirt.Provider, error) {
			return fake.New(fake.Options{Backend: b, Namespace: opts.Namespace, Owner: opts.Owner}), nil
		},
	}
	providertest.Differential(t, harness(t), inMemory, providertest.DifferentialOptions{Programs: modelSequences(60, 5)})
}

// modelSequences are fewer with -short.
func modelSequences(n, short int) int {
	if testing.Short() {
		return short
	}
	return n
}
