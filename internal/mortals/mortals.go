// Package mortals remembers the ephemeral resources that a provider value made,
// which go with it.
package mortals

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/errgroup"
)

// atOnce is how many are deleted at the same time.
const atOnce = 8

// Set is a set of IDs. The zero value is empty. Its methods may be called from
// many goroutines.
type Set struct {
	mu  sync.Mutex
	ids map[string]struct{}
}

// Add remembers an ID.
func (s *Set) Add(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ids == nil {
		s.ids = make(map[string]struct{})
	}
	s.ids[id] = struct{}{}
}

// Remove forgets an ID.
func (s *Set) Remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ids, id)
}

// Bury deletes what is remembered, and forgets it whether or not that could be done:
// what could not is left to a sweep.
func (s *Set) Bury(ctx context.Context, remove func(ctx context.Context, id string) error) error {
	s.mu.Lock()
	ids := s.ids
	s.ids = nil
	s.mu.Unlock()
	var mu sync.Mutex
	var errs []error
	var group errgroup.Group
	group.SetLimit(atOnce)
	for id := range ids {
		group.Go(func() error {
			if err := remove(ctx, id); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
			return nil
		})
	}
	_ = group.Wait() // what fails is in errs
	return errors.Join(errs...)
}
