package hostnet

import (
	"net/netip"
	"testing"

	mdns "github.com/miekg/dns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/internal/hostnet/dns"
	"github.com/univirt/univirt/internal/netns"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// TestInstancesFindEachOtherByName asks the server at the gateways from an instance of
// an isolated network.
func TestInstancesFindEachOtherByName(t *testing.T) {
	w := newWorld(t)
	n := w.network(network.Isolated)
	i := w.instance(n)
	config := dns.Config{Clients: n.Clients(), Zone: "lab", Table: w.Table(n.ID)}
	for _, g := range n.Gateways() {
		config.Listen = append(config.Listen, netip.AddrPortFrom(g, 53))
	}
	var server *dns.Server
	require.NoError(t, netns.Do(w.namespace, func() (err error) {
		server, err = dns.Start(config)
		return err
	}))
	defer server.Close()
	ask := func(protocol string, at netip.AddrPort, name string) *mdns.Msg {
		conn, err := netns.Dial(t.Context(), i.namespace, protocol, at)
		require.NoError(t, err)
		defer conn.Close()
		m := new(mdns.Msg)
		m.SetQuestion(name, mdns.TypeA)
		got, _, err := (&mdns.Client{Net: protocol}).ExchangeWithConn(m, &mdns.Conn{Conn: conn})
		require.NoError(t, err)
		return got
	}
	for _, at := range config.Listen {
		for _, protocol := range []string{"udp", "tcp"} {
			assert.Equal(t, mdns.RcodeNameError, ask(protocol, at, "web.lab.").Rcode)
			e, err := w.Reserve(t.Context(), n.ID, EndpointSpec{ID: resource.NewID(), Name: "web", Aliases: []string{"www"}})
			require.NoError(t, err)
			for _, name := range []string{"web.", "www.lab."} {
				got := ask(protocol, at, name)
				if assert.Len(t, got.Answer, 1) {
					assert.Equal(t, e.Addresses[0].Addr().String(), got.Answer[0].(*mdns.A).A.String())
				}
			}
			require.NoError(t, w.Release(t.Context(), n.ID, e.ID))
			assert.Equal(t, mdns.RcodeNameError, ask(protocol, at, "www.").Rcode)
		}
	}
	// What is refused by the rules is not the server's to refuse.
	reachesNot(t, i.namespace, serve(t, w.namespace, n.Gateways()[0], 0))
}
