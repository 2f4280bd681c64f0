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
	if testing.Short() {
		t.Skip("short: what counts every pair of state and operation takes minutes")
	}
	providertest.Model(t, harness(t), providertest.ModelOptions{Sequences: 200})
}

// TestDifferential holds that tests on the fake speak of containerd.
func TestDifferential(t *testing.T) {
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
	programs := 60
	if testing.Short() {
		programs = 20
	}
	providertest.Differential(t, harness(t), inMemory, providertest.DifferentialOptions{Programs: programs})
}
