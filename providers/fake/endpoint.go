package fake

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
)

// sockets are what a process holds of the network. The zero value is ready.
type sockets struct{}

// close closes them, also those that are opened later. Closing twice does nothing.
func (s *sockets) close() {}

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

// Listen listens inside the instance, as net.Listen does: on a port of all
// addresses (":80"), of one of the instance's addresses, or of its loopback. Port
// 0 chooses one. The listener ends with the process.
func (p *Process) Listen(networkName, address string) (net.Listener, error) {
	return nil, errors.ErrUnsupported
}

// Dial connects from inside the instance, as net.Dialer.DialContext does. A name
// is looked up as LookupHost does.
func (p *Process) Dial(ctx context.Context, networkName, address string) (net.Conn, error) {
	return nil, errors.ErrUnsupported
}

// LookupHost returns the addresses of a name as the instance sees it: of another
// instance on one of its networks, of the spec's DNS.Hosts, or of itself.
func (p *Process) LookupHost(ctx context.Context, host string) ([]netip.Addr, error) {
	return nil, errors.ErrUnsupported
}
