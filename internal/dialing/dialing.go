// Package dialing is what connections into instances have in common.
package dialing

import (
	"cmp"

	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// Check reports every fault of what is to be dialled, and returns the protocol: TCP where
// none is given.
func Check(protocol network.Protocol, port uint16) (network.Protocol, error) {
	var faults resource.Faults
	if port == 0 {
		faults.Add("port", "must be from 1 to 65535")
	}
	protocol = cmp.Or(protocol, network.TCP)
	switch protocol {
	case network.TCP, network.UDP:
	default:
		faults.Add("protocol", "must be %q or %q", network.TCP, network.UDP)
	}
	return protocol, faults.Err()
}
