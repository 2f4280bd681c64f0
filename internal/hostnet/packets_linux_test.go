package hostnet

import (
	"net/netip"
	"os"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

func TestEndpointsOfANetworkTalk(t *testing.T) {
	for _, external := range []network.External{network.Isolated, network.NAT} {
		t.Run(string(external), func(t *testing.T) {
			w := newWorld(t)
			n := w.network(external)
			a, b := w.instance(n), w.instance(n)
			require.Len(t, a.Addresses, 2)
			talk(t, a, b)
		})
	}
}

// TestNetworksAreIsolated tries all pairs of networks both ways, and the gateways of
// the others, of which the host has all.
func TestNetworksAreIsolated(t *testing.T) {
	w := newWorld(t)
	w.outside()
	var networks []Network
	var instances []instance
	for _, external := range []network.External{network.NAT, network.NAT, network.Isolated, network.Isolated} {
		n := w.network(external)
		networks, instances = append(networks, n), append(instances, w.instance(n))
	}
	var all sync.WaitGroup
	not := func(from *os.File, to netip.AddrPort) { all.Go(func() { reachesNot(t, from, to) }) }
	for j, from := range instances {
		// A way that the instance makes up must not help.
		routeAll(t, from, networks[j])
	}
	for i, to := range instances {
		for k, a := range to.addresses() {
			at, gateway := serve(t, to.namespace, a, 0), serve(t, w.namespace, networks[i].Subnets[k].Gateway, 0)
			for j, from := range instances {
				switch {
				case i != j:
					not(from.namespace, at)
					not(from.namespace, gateway)
				case networks[i].External == network.NAT:
					reaches(t, from.namespace, gateway, a)
				default:
					not(from.namespace, gateway)
				}
			}
			// The host itself reaches all.
			reaches(t, w.namespace, at, networks[i].Subnets[k].Gateway)
		}
	}
	all.Wait()
}

// routeAll gives an instance default routes, if it has none.
func routeAll(t *testing.T, i instance, n Network) {
	t.Helper()
	h := handleIn(t, i.namespace)
	l, err := h.LinkByName("eth0")
	require.NoError(t, err)
	for _, gateway := range n.Gateways() {
		require.NoError(t, route(h, l, gateway))
	}
}

func TestNATReachesTheOutsideBehindTheHost(t *testing.T) {
	w := newWorld(t)
	out := w.outside()
	n := w.network(network.NAT)
	i := w.instance(n)
	reaches(t, i.namespace, serve(t, out.namespace, out.v4, 0), out.host4)
	reaches(t, i.namespace, serve(t, out.namespace, out.v6, 0), out.host6)
	t.Run("and is not reached from there", func(t *testing.T) {
		h := handleIn(t, out.namespace)
		for k, s := range n.Subnets {
			via := []netip.Addr{out.host4, out.host6}[k]
			require.NoError(t, h.RouteAdd(&netlink.Route{Dst: ipNet(s.CIDR), Gw: via.AsSlice()}))
			reachesNot(t, out.namespace, serve(t, i.namespace, i.addresses()[k], 0))
		}
	})
}

func TestAnIsolatedNetworkReachesNothingOutside(t *testing.T) {
	w := newWorld(t)
	out := w.outside()
	w.network(network.NAT) // so that the host forwards
	n := w.network(network.Isolated)
	i := w.instance(n)
	targets := []netip.AddrPort{
		serve(t, out.namespace, out.v4, 0), serve(t, out.namespace, out.v6, 0),
		serve(t, w.namespace, out.host4, 0), serve(t, w.namespace, out.host6, 0),
	}
	for _, to := range targets {
		reachesNot(t, i.namespace, to)
	}
	routeAll(t, i, n)
	for _, to := range targets {
		reachesNot(t, i.namespace, to)
	}
	// A server of names at the gateway is all that it has.
	for k, s := range n.Subnets {
		reaches(t, i.namespace, serve(t, w.namespace, s.Gateway, 53), i.addresses()[k])
	}
}

func TestMTU(t *testing.T) {
	w := newWorld(t)
	n, err := w.Create(t.Context(), NetworkSpec{ID: resource.NewID(), MTU: 1280, ChooseIPv4: true, ChooseIPv6: true})
	require.NoError(t, err)
	a, b := w.instance(n), w.instance(n)
	talk(t, a, b)
	for _, i := range []instance{a, b} {
		l, err := handleIn(t, i.namespace).LinkByName("eth0")
		require.NoError(t, err)
		assert.Equal(t, 1280, l.Attrs().MTU)
		assert.Equal(t, a.MAC.String() == l.Attrs().HardwareAddr.String(), i.ID == a.ID)
	}
	bridge, err := w.handle.LinkByName(n.Bridge)
	require.NoError(t, err)
	assert.Equal(t, 1280, bridge.Attrs().MTU)
}

func TestAJoinedBridgeIsNeverChanged(t *testing.T) {
	w := newWorld(t)
	a := netlink.NewLinkAttrs()
	a.Name = "lan"
	require.NoError(t, w.handle.LinkAdd(&netlink.Bridge{LinkAttrs: a}))
	lan, err := w.handle.LinkByName("lan")
	require.NoError(t, err)
	here := netip.MustParsePrefix("198.51.100.1/24")
	require.NoError(t, w.handle.AddrAdd(lan, address(here)))
	require.NoError(t, w.handle.LinkSetUp(lan))
	n, err := w.Create(t.Context(), NetworkSpec{
		ID: resource.NewID(), External: network.Bridged, Bridge: "lan", Subnets: []network.Subnet{{CIDR: here.Masked()}},
	})
	require.NoError(t, err)
	assert.Equal(t, "lan", n.Bridge)
	assert.NotContains(t, w.tables(), "univirt", "what is joined needs no rules")
	i, j := w.instance(n), w.instance(n)
	talk(t, i, j)
	reaches(t, i.namespace, serve(t, w.namespace, here.Addr(), 0), i.addresses()[0])
	for _, i := range []instance{i, j} {
		require.NoError(t, w.Release(t.Context(), n.ID, i.ID))
	}
	require.NoError(t, w.Delete(t.Context(), n.ID))
	after, err := w.handle.LinkByName("lan")
	require.NoError(t, err)
	assert.Empty(t, after.Attrs().Alias)
	addrs, err := w.handle.AddrList(after, 2)
	require.NoError(t, err)
	assert.Len(t, addrs, 1)

	_, err = w.Create(t.Context(), NetworkSpec{ID: resource.NewID(), External: network.Bridged, Bridge: "absent"})
	isFailure(t, err, errdefs.ErrInvalidArgument, "bridge")
	_, err = w.Create(t.Context(), NetworkSpec{ID: resource.NewID(), External: network.Bridged, Bridge: "lo"})
	isFailure(t, err, errdefs.ErrInvalidArgument, "bridge")
}
