package containerd

import (
	"context"
	"sync"

	"github.com/containerd/containerd/v2/core/unpack"

	"github.com/univirt/univirt/internal/turns"
)

// keyLocks are locks by name: within this process a layer is brought and
// unpacked once, however many images have it. The zero value is ready for use.
type keyLocks struct {
	turns  turns.Queue
	passes sync.Map // of key to func()
}

var _ unpack.KeyedLocker = (*keyLocks)(nil)

// Lock waits for the key or the end of the context.
func (k *keyLocks) Lock(ctx context.Context, key string) error {
	pass, err := k.turns.Take(ctx, key)
	if err != nil {
		return ended(ctx)
	}
	k.passes.Store(key, pass)
	return nil
}

// Unlock gives up a key that is held.
func (k *keyLocks) Unlock(key string) {
	if pass, held := k.passes.LoadAndDelete(key); held {
		pass.(func())()
	}
}
