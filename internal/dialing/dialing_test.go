package dialing

import (
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		protocol network.Protocol
		port     uint16
		want     network.Protocol
		faults   []string
	}{
		{"", 80, network.TCP, nil},
		{network.TCP, 65535, network.TCP, nil},
		{network.UDP, 53, network.UDP, nil},
		{network.UDP, 0, network.UDP, []string{"port"}},
		{"sctp", 0, "sctp", []string{"port", "protocol"}},
	} {
		got, err := Check(c.protocol, c.port)
		assert.Equal(t, c.want, got)
		var fields []string
		for _, f := range resource.FaultsOf(err) {
			fields = append(fields, f.Field)
		}
		assert.Equal(t, c.faults, fields)
		if c.faults != nil {
			require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
		}
	}
}
