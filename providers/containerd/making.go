package containerd

import (
	"context"
	"errors"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// making are the IDs of the instances, and of the leases of images, that this value
// is making at the moment: what else carries its generation and is not finished
// was left over.
type making struct {
	mu  sync.Mutex
	ids map[string]struct{}
}

func (m *making) begin(id string) (done func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ids == nil {
		m.ids = make(map[string]struct{})
	}
	m.ids[id] = struct{}{}
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.ids, id)
	}
}

func (m *making) has(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.ids[id]
	return ok
}

// mortals are the ephemeral instances that this value made, which go with it.
type mortals struct {
	mu  sync.Mutex
	ids map[string]struct{}
}

func (m *mortals) add(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ids == nil {
		m.ids = make(map[string]struct{})
	}
	m.ids[id] = struct{}{}
}

func (m *mortals) remove(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.ids, id)
}

// bury deletes them at Close. What cannot be deleted is left to Sweep.
func (m *mortals) bury(ctx context.Context, p *Provider) error {
	m.mu.Lock()
	ids := m.ids
	m.ids = nil
	m.mu.Unlock()
	var errs []error
	var wg sync.WaitGroup
	var mu sync.Mutex
	slots := make(chan struct{}, 8)
	for id := range ids {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			err := p.deleteInstance(ctx, id, compute.DeleteOptions{Force: true})
			if err == nil || errors.Is(err, errdefs.ErrNotFound) {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, resource.Fail("delete", p.ref(resource.KindInstance, "", id), err))
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
