package mortals

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBury(t *testing.T) {
	var s Set
	require.NoError(t, s.Bury(t.Context(), nil), "an empty set")
	for _, id := range []string{"a", "b", "c", "d"} {
		s.Add(id)
	}
	s.Remove("b")
	s.Remove("unknown")
	failed := errors.New("is kept")
	var mu sync.Mutex
	var gone []string
	err := s.Bury(t.Context(), func(_ context.Context, id string) error {
		mu.Lock()
		defer mu.Unlock()
		if id == "c" {
			return failed
		}
		gone = append(gone, id)
		return nil
	})
	require.ErrorIs(t, err, failed)
	slices.Sort(gone)
	assert.Equal(t, []string{"a", "d"}, gone)
	require.NoError(t, s.Bury(t.Context(), nil), "nothing is left")
}
