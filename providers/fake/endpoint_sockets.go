package fake

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// sockets are what a process holds of the network. The zero value is ready. Its
// own lock guards it.
type sockets struct {
	mu     sync.Mutex
	closed bool
	held   map[interface{ shut() }]struct{}
}

// hold has something shut when the process ends or is killed; false where it has
// already.
func (s *sockets) hold(c interface{ shut() }) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.held == nil {
		s.held = make(map[interface{ shut() }]struct{})
	}
	s.held[c] = struct{}{}
	return true
}

func (s *sockets) release(c interface{ shut() }) {
	s.mu.Lock()
	delete(s.held, c)
	s.mu.Unlock()
}

// cut shuts the connections of an address, as where its endpoint is unplugged.
func (s *sockets) cut(ip netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for held := range s.held {
		if c, ok := held.(*conn); ok && c.local.AddrPort().Addr().Unmap() == ip.Unmap() {
			c.shut()
		}
	}
}

// close shuts what the process holds, as a kernel does at its end. Closing twice
// does nothing.
func (s *sockets) close() {
	s.mu.Lock()
	s.closed = true
	held := s.held
	s.held = nil
	s.mu.Unlock()
	for c := range held {
		c.shut()
	}
}

// backlog is how many connections may wait to be accepted.
const backlog = 128

// listener is a port that a process listens on.
type listener struct {
	p    *Process
	addr *net.TCPAddr
	// incoming has the connections that wait to be accepted.
	incoming chan *conn
	done     chan struct{}
	once     sync.Once
}

var _ net.Listener = (*listener)(nil)

// Accept waits for a connection.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.incoming:
		c.p = l.p
		if err := l.p.pass(); err != nil || !l.p.sockets.hold(c) {
			c.shut()
			return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
		}
		return c, nil
	case <-l.done:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
	}
}

// Addr returns where the process listens.
func (l *listener) Addr() net.Addr { return l.addr }

// Close ends listening; connections that were not accepted are reset.
func (l *listener) Close() error {
	l.p.sockets.release(l)
	l.shut()
	return nil
}

func (l *listener) shut() {
	l.once.Do(func() {
		close(l.done)
		r := l.p.run
		b := r.backend()
		b.mu.Lock()
		r.listeners = slices.DeleteFunc(r.listeners, func(other *listener) bool { return other == l })
		b.mu.Unlock()
		for {
			select {
			case c := <-l.incoming:
				c.shut()
			default:
				return
			}
		}
	})
}

// Listen listens inside the instance, as net.Listen does: on a port of all
// addresses (":80"), of one of the instance's addresses, or of its loopback. Port
// 0 chooses one. The listener ends with the process.
func (p *Process) Listen(networkName, address string) (net.Listener, error) {
	fail := func(err error) (net.Listener, error) {
		return nil, &net.OpError{Op: "listen", Net: networkName, Err: err}
	}
	if err := p.pass(); err != nil {
		return fail(err)
	}
	host, port, err := splitAddress(networkName, address)
	if err != nil {
		return fail(err)
	}
	var ip netip.Addr
	if host != "" {
		found, err := p.LookupHost(context.Background(), host)
		if err != nil {
			return fail(err)
		}
		ip = found[0]
	}
	b := p.run.backend()
	b.mu.Lock()
	defer b.mu.Unlock()
	if ip.IsValid() && !ip.IsUnspecified() && !ip.IsLoopback() && !p.run.instance.has(ip) {
		return fail(syscall.EADDRNOTAVAIL)
	}
	if ip.IsUnspecified() {
		ip = netip.Addr{}
	}
	if port == 0 {
		for port = 32768; p.run.listener(ip, port) != nil; port++ {
			if port == 60999 {
				return fail(syscall.EADDRINUSE)
			}
		}
	} else if p.run.listener(ip, port) != nil {
		return fail(syscall.EADDRINUSE)
	}
	l := &listener{p: p, addr: tcpAddr(ip, port), incoming: make(chan *conn, backlog), done: make(chan struct{})}
	if !p.sockets.hold(l) {
		return fail(errEnded)
	}
	p.run.listeners = append(p.run.listeners, l)
	return l, nil
}

// splitAddress reads the arguments of Listen and Dial.
func splitAddress(networkName, address string) (host string, port uint16, err error) {
	switch networkName {
	case "tcp", "tcp4", "tcp6":
	default:
		return "", 0, net.UnknownNetworkError(networkName)
	}
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, &net.AddrError{Err: "invalid port", Addr: address}
	}
	return host, uint16(n), nil
}

func tcpAddr(ip netip.Addr, port uint16) *net.TCPAddr {
	if !ip.IsValid() {
		return &net.TCPAddr{IP: net.IPv6unspecified, Port: int(port)}
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, port))
}

// listener finds who listens on a port of an address; the zero address asks who
// would be in the way of listening on all. The backend is locked.
func (r *run) listener(ip netip.Addr, port uint16) *listener {
	for _, l := range r.listeners {
		at := l.addr.AddrPort()
		if at.Port() == port && (!ip.IsValid() || at.Addr().IsUnspecified() || at.Addr().Unmap() == ip.Unmap()) {
			return l
		}
	}
	return nil
}

// connect gives a listener one end of a connection and returns the other. The
// backend is locked.
func (l *listener) connect(from *net.TCPAddr, to netip.Addr) (*conn, error) {
	near, far := newConn(from, tcpAddr(to, uint16(l.addr.Port)))
	far.count = l.p.run.instance.counter(to)
	select {
	case <-l.done:
	case l.incoming <- far:
		return near, nil
	default:
	}
	near.shut()
	return nil, syscall.ECONNREFUSED
}

// Dial connects from inside the instance, as net.Dialer.DialContext does. A name
// is looked up as LookupHost does.
func (p *Process) Dial(ctx context.Context, networkName, address string) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: networkName, Err: err}
	}
	if err := p.pass(); err != nil {
		return fail(err)
	}
	host, port, err := splitAddress(networkName, address)
	if err != nil {
		return fail(err)
	}
	found := []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	if host != "" {
		if found, err = p.LookupHost(ctx, host); err != nil {
			return fail(err)
		}
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	for _, ip := range found {
		var c *conn
		if c, err = p.connect(ip, port); err != nil {
			continue
		}
		c.p = p
		if !p.sockets.hold(c) {
			c.shut()
			return fail(errEnded)
		}
		return c, nil
	}
	return fail(err)
}

// connect connects to a port of an address.
func (p *Process) connect(ip netip.Addr, port uint16) (*conn, error) {
	b := p.run.backend()
	b.mu.Lock()
	defer b.mu.Unlock()
	i := p.run.instance
	source, peer := ip, i
	if !ip.IsLoopback() && !i.has(ip) {
		if source, peer = i.route(ip); peer == nil {
			return nil, syscall.EHOSTUNREACH
		}
	}
	r := peer.run
	if r == nil || r.over {
		return nil, syscall.EHOSTUNREACH
	}
	l := r.listener(ip, port)
	if l == nil {
		return nil, syscall.ECONNREFUSED
	}
	p.run.ports++
	c, err := l.connect(tcpAddr(source, ephemeral(p.run.ports)), ip)
	if err == nil {
		c.count = i.counter(source)
	}
	return c, err
}

// ephemeral is the port that a connection of a run goes out from.
func ephemeral(n uint32) uint16 { return uint16(32768 + n%28232) }

// LookupHost returns the addresses of a name as the instance sees it: of another
// instance on one of its networks, of the spec's DNS.Hosts, or of itself.
func (p *Process) LookupHost(ctx context.Context, host string) ([]netip.Addr, error) {
	if err := p.pass(); err != nil {
		return nil, err
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b := p.run.backend()
	b.mu.Lock()
	defer b.mu.Unlock()
	if found := p.run.instance.lookUp(host); len(found) > 0 {
		return found, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

var _ compute.Dialer = (*handle)(nil)

// Dial connects to a port that a program of the running instance listens on.
func (h *handle) Dial(ctx context.Context, protocol network.Protocol, port uint16) (net.Conn, error) {
	err := h.p.open(ctx)
	if err == nil {
		err = checkDial(protocol, port)
	}
	if err != nil {
		return nil, h.fail(OpDial, err)
	}
	var c *conn
	err = h.use(ctx, OpDial, compute.OpDial, func(i *instance) error {
		r := i.run
		l := r.listener(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
		if l == nil {
			// What listens on one address of the instance alone is reached there.
			l = r.listener(netip.Addr{}, port)
		}
		if l == nil || r.ending {
			return resource.Errorf(errdefs.ErrUnavailable, "nothing listens on port %d: %s", port, r.deaf())
		}
		to := l.addr.AddrPort().Addr()
		if to.IsUnspecified() {
			to = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		r.ports++
		var err error
		if c, err = l.connect(tcpAddr(netip.AddrFrom4([4]byte{127, 0, 0, 1}), ephemeral(r.ports)), to); err != nil {
			return resource.Errorf(errdefs.ErrUnavailable, "port %d: %w", port, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// deaf says why nothing listens on a port of a run, in the words of who writes the
// test. The backend is locked.
func (r *run) deaf() string {
	if r.main == nil && !r.over && !r.ending {
		return "the main process is idle, as Options.Programs has no program for its command; one that calls Process.Listen is needed"
	}
	return "no program that runs in the instance has called Process.Listen for it"
}

func checkDial(protocol network.Protocol, port uint16) error {
	switch {
	case port == 0:
		return resource.Faults{{Field: "port", Reason: "must be from 1 to 65535"}}
	case protocol == network.UDP:
		return resource.Unsupported("dialling by udp", "the fake carries streams only")
	case protocol != "" && protocol != network.TCP:
		return resource.Faults{{Field: "protocol", Reason: fmt.Sprintf("must be %q or %q", network.TCP, network.UDP)}}
	}
	return nil
}
