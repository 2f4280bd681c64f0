package containerd

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestLeaseEndsWithItsContext holds that who needs a lease while another makes it
// does not wait past its context for a daemon that does not answer the other.
func TestLeaseEndsWithItsContext(t *testing.T) {
	var p Provider
	pass, err := p.leases.renewal.Take(t.Context(), "")
	require.NoError(t, err)
	defer pass()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = p.lease(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}
