package containerd

import "sync"

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
