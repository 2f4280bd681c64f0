// Package forward carries what comes to a port on to another address: streams with
// each direction's own end, datagrams with an answer's way back to whom it is meant
// for.
package forward

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Rule says what is forwarded.
type Rule struct {
	// Protocol is "tcp" or "udp".
	Protocol string
	// Listen is where to listen; port 0 chooses one. The addresses of all of a family
	// are those of IPv4, or of IPv6 alone.
	Listen netip.AddrPort
	// To are the addresses to forward to. Streams go to the first that takes them,
	// datagrams to the first.
	To []netip.AddrPort
}

// Dial connects to an address.
type Dial func(ctx context.Context, protocol string, to netip.AddrPort) (net.Conn, error)

// The patience with what is forwarded to.
const (
	dialTimeout = 30 * time.Second
	// idleTime is how long a flow of datagrams that nobody uses is remembered.
	idleTime = 90 * time.Second
	// mostFlows bounds what is remembered of datagrams of one port.
	mostFlows = 4096
)

// Forwarder is a port that is taken. Its methods may be called from many goroutines.
type Forwarder struct {
	addr  netip.AddrPort
	serve func()
	close func()
}

// Listen takes a port. What comes before Serve waits.
func Listen(rule Rule, dial Dial) (*Forwarder, error) {
	if len(rule.To) == 0 {
		return nil, fmt.Errorf("forward %s %s: to nowhere", rule.Protocol, rule.Listen)
	}
	switch rule.Protocol {
	case "tcp":
		return listenStream(rule, dial)
	case "udp":
		return listenDatagrams(rule, dial, idleTime)
	}
	return nil, fmt.Errorf("forward: the protocol is %q, not tcp or udp", rule.Protocol)
}

// Addr is where the forwarder listens.
func (f *Forwarder) Addr() netip.AddrPort { return f.addr }

// Serve forwards until Close.
func (f *Forwarder) Serve() { f.serve() }

// Close gives the port back and ends what is forwarded. It returns when nothing of it
// goes on but Serve, which returns then. It is to be called once.
func (f *Forwarder) Close() { f.close() }

// family adds to a protocol the family of an address.
func family(protocol string, a netip.Addr) string {
	if a.Is6() {
		return protocol + "6"
	}
	return protocol + "4"
}
