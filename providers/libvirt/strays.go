//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"sync"
)

// strays are the calls of an operation that were left alone. A daemon that was slow to
// answer may do what they ask when it has done what was asked later, by another
// connection: so the later calls of the operation, which undo what it did, wait for them.
// Nil has none.
type strays struct {
	mu    sync.Mutex
	calls []<-chan struct{}
}

type straysKey struct{}

func withStrays(ctx context.Context) context.Context {
	return context.WithValue(ctx, straysKey{}, new(strays))
}

func straysOf(ctx context.Context) *strays {
	s, _ := ctx.Value(straysKey{}).(*strays)
	return s
}

// add takes in a call that was left alone, by what is closed when it is over.
func (s *strays) add(over <-chan struct{}) {
	if s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.calls = append(s.calls, over)
	}
}

// await returns when all calls are over, or with what the context ended with.
func (s *strays) await(ctx context.Context) error {
	for {
		call := s.next()
		if call == nil {
			return ctx.Err()
		}
		select {
		case <-call:
			s.drop(call)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *strays) next() <-chan struct{} {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.calls) == 0 {
		return nil
	}
	return s.calls[0]
}

// drop forgets a call that is over, unless another has.
func (s *strays) drop(call <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.calls) > 0 && s.calls[0] == call {
		s.calls = s.calls[1:]
	}
}
