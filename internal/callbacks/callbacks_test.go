package callbacks

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/resource"
)

func TestRun(t *testing.T) {
	alive, end := context.WithCancel(t.Context())
	defer end()
	failed := errors.New("failed")
	value, err := Run(alive, func() (int, error) { return 1, failed })
	assert.Equal(t, 1, value)
	require.ErrorIs(t, err, failed)

	blocked := make(chan struct{})
	_, err = Run(alive, func() (int, error) { end(); <-blocked; return 2, nil })
	require.ErrorIs(t, err, resource.ErrClosed)
	close(blocked)
}
