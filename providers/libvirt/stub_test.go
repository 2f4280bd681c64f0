//go:build !cgo || (!libvirt && !libvirt_dlopen)

package libvirt

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/resource"
)

func TestWithoutTheTagOpenSaysWhichIsMissing(t *testing.T) {
	_, err := univirt.Open(t.Context(), "libvirt:")
	require.ErrorIs(t, err, errors.ErrUnsupported)
	assert.ErrorContains(t, err, "libvirt_dlopen")
	_, err = univirt.Open(t.Context(), "libvirt:?namespace=A")
	require.Error(t, err)
	assert.Equal(t, "namespace", resource.FaultsOf(err)[0].Field)
}
