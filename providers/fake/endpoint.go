package fake

import (
	"net/netip"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
)

// addressed reports whether the instance has an address on each of its networks,
// and at least one. The backend is locked.
func (i *instance) addressed() bool { return false }

// endpoint is the record of an endpoint.
type endpoint struct{ addresses []netip.Prefix }

// endpoints are the instance's, in the order of its spec.
func (i *instance) endpoints() []*endpoint { return nil }

// attachEndpoints reserves an endpoint for each of the spec's networks. It is
// part of Create: where it fails it has done nothing. The backend is locked.
func (i *instance) attachEndpoints() error { return nil }

// detachEndpoints is the undo of attachEndpoints, and part of Delete. The backend
// is locked.
func (i *instance) detachEndpoints() {}

// plug plugs the endpoints in and takes the published ports. It is part of Start:
// where it fails it has done nothing. The backend is locked.
func (i *instance) plug() error { return nil }

// unplug is the undo of plug, and part of the end of a run. The backend is
// locked. Listeners and connections of the run's programs are closed by the
// programs' end.
func (i *instance) unplug() {}

// endpointInfos is Info.Endpoints. The backend is locked.
func (i *instance) endpointInfos() []network.EndpointInfo { return nil }

// portInfos is Info.Ports. The backend is locked.
func (i *instance) portInfos() []network.Port { return nil }

// networkStats is Stats.Network. The backend is locked.
func (i *instance) networkStats() []compute.NetworkStats { return nil }

// has reports whether an address is the instance's own. The backend is locked.
func (i *instance) has(ip netip.Addr) bool { return false }

// route finds who has an address on one of the instance's networks, and the
// instance's own address there. The backend is locked.
func (i *instance) route(ip netip.Addr) (source netip.Addr, peer *instance) { return ip, nil }

// counter returns what counts the bytes of the endpoint with an address, or nil.
// The backend is locked.
func (i *instance) counter(ip netip.Addr) func(received, sent int) { return nil }

// lookUp finds a name as the instance sees it. The backend is locked.
func (i *instance) lookUp(host string) []netip.Addr {
	if host == "localhost" {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	}
	if ip, ok := i.spec.DNS.Hosts[host]; ok {
		return []netip.Addr{ip}
	}
	return nil
}
