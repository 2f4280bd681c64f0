package containerd

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	testregistry "github.com/univirt/univirt/providers/providertest/registry"
	"github.com/univirt/univirt/resource"
)

// TestCloseWithinCallbacks closes a provider from within the functions of the
// caller's that only this provider calls, or that the suite cannot have called.
func TestCloseWithinCallbacks(t *testing.T) {
	registry := testregistry.Test(t)
	private := push(t, registry, "app:v1", dataImage(t, 1, 512))
	registry.RequireBasic("u", "p")
	edited := func(here func()) compute.Spec {
		spec := guestSpec("web", "sleep", "1h")
		spec.Native = compute.Natives{SpecEdit{Version: "1", Edit: func(*specs.Spec) error { here(); return nil }}}
		return spec
	}
	for name, call := range map[string]func(ctx context.Context, p *Provider, here func()) error{
		"the edit of a Create": func(ctx context.Context, p *Provider, here func()) error {
			_, err := p.Instances().Create(ctx, edited(here))
			return err
		},
		"the edit of a plan": func(ctx context.Context, p *Provider, here func()) error {
			_, err := compute.PlanOf(ctx, p.Instances(), edited(here))
			return err
		},
		"the credentials of a Pull": func(ctx context.Context, p *Provider, here func()) error {
			_, err := p.Images().Pull(ctx, private, compute.PullOptions{
				Credentials: func(context.Context, string) (string, resource.Secret, error) {
					here()
					return "u", resource.NewSecret("p"), nil
				},
			})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := openGuest(t, Options{})
			before, err := inventory(t.Context(), p.space)
			require.NoError(t, err)
			over := make(chan struct{})
			release := sync.OnceFunc(func() { close(over) })
			defer release()
			inside := make(chan struct{})
			here := sync.OnceFunc(func() { close(inside); <-over })
			called := make(chan error, 1)
			go func() { called <- call(t.Context(), p, here) }()
			soon(t, "the way into "+name, inside)
			closed := make(chan struct{})
			go func() { defer close(closed); assert.NoError(t, p.Close()) }()
			soon(t, "Close", closed)
			require.ErrorIs(t, <-called, resource.ErrClosed)
			all, err := inventory(t.Context(), p.space)
			require.NoError(t, err)
			require.Equal(t, before, all)
		})
	}
}

// soon requires something to happen before long.
func soon(t *testing.T, what string, happened <-chan struct{}) {
	t.Helper()
	timer := time.NewTimer(30 * time.Second)
	defer timer.Stop()
	select {
	case <-happened:
	case <-timer.C:
		require.Fail(t, what+" does not come")
	}
}
