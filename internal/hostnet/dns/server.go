package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Bounds of what a server does at once. What comes while all are busy waits in the
// kernel, or is lost there: a hostile client costs no more than this.
const (
	// mostPackets is how many are being answered. Those that are forwarded, which take
	// long, are fewer, so that names of the network are always answered.
	mostPackets  = 256
	mostForwards = 128
	// mostConnections is how many clients are connected; more are turned away.
	mostConnections = 64
	// longestQuery is what a question may have.
	longestQuery = 4096
	// idle is how long a connection may be silent, and lifetime how long it may last.
	idle     = 10 * time.Second
	lifetime = 2 * time.Minute
)

// Config says what a server is for.
type Config struct {
	// Listen are the addresses to listen on, by UDP and TCP. A port of 0 is any, the
	// same for both.
	Listen []netip.AddrPort
	// Clients are the ranges of those who may ask. Their addresses are the network's,
	// so nobody else is asked what names they have.
	Clients []netip.Prefix
	// Zone is the DNS domain of the network's names, which are also found without it.
	Zone string
	// Table returns what the network knows; nil is nothing.
	Table func() *Table
	// Upstreams returns those that know the rest. Where there are none, as for a network
	// that is isolated, the rest is refused.
	Upstreams func() []netip.AddrPort
}

// Server answers until it is closed.
type Server struct {
	config   Config
	zone     string
	forwards chan struct{}
	stop     context.CancelFunc
	open     []io.Closer
	listen   []netip.AddrPort
	running  sync.WaitGroup
}

// Start opens all addresses and answers. One that cannot be had fails it, and leaves
// nothing open.
func Start(config Config) (*Server, error) {
	ctx, stop := context.WithCancel(context.Background())
	s := newServer(config)
	s.stop = stop
	for _, at := range config.Listen {
		udp, tcp, err := listen(at)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.open = append(s.open, udp, tcp)
		s.listen = append(s.listen, tcp.Addr().(*net.TCPAddr).AddrPort())
		s.running.Go(func() { s.packets(ctx, udp) })
		s.running.Go(func() { s.connections(ctx, tcp) })
	}
	return s, nil
}

func newServer(config Config) *Server {
	return &Server{config: config, zone: canonical(config.Zone), forwards: make(chan struct{}, mostForwards)}
}

// Addresses returns where the server listens, with the ports that were chosen.
func (s *Server) Addresses() []netip.AddrPort { return s.listen }

// Close ends the server, and returns when nothing of it runs any more: what is being
// forwarded is waited for, for two seconds at most.
func (s *Server) Close() error {
	s.stop()
	var errs []error
	for _, c := range s.open {
		if err := c.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	s.running.Wait()
	return errors.Join(errs...)
}

func (s *Server) table() *Table {
	if s.config.Table == nil {
		return nil
	}
	return s.config.Table()
}

// listen opens a port for both protocols. One that is chosen for TCP can be taken for
// UDP, so it is tried a few times.
func listen(at netip.AddrPort) (*net.UDPConn, *net.TCPListener, error) {
	for tries := 0; ; tries++ {
		tcp, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
		if err != nil {
			return nil, nil, err
		}
		udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(tcp.Addr().(*net.TCPAddr).AddrPort()))
		if err == nil {
			return udp, tcp, nil
		}
		_ = tcp.Close()
		if at.Port() != 0 || tries == 10 {
			return nil, nil, err
		}
	}
}

// packets answers what comes by UDP.
func (s *Server) packets(ctx context.Context, conn *net.UDPConn) {
	busy := make(chan struct{}, mostPackets)
	buffer := make([]byte, longestQuery)
	for {
		busy <- struct{}{}
		n, from, err := conn.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // of an earlier answer that its client did not take
			<-busy
			continue
		}
		packet := append([]byte(nil), buffer[:n]...)
		s.running.Go(func() {
			defer func() { <-busy }()
			if reply := s.answer(ctx, packet, from.Addr(), false); reply != nil {
				_, _ = conn.WriteToUDPAddrPort(reply, from)
			}
		})
	}
}

// connections answers what comes by TCP.
func (s *Server) connections(ctx context.Context, l *net.TCPListener) {
	busy := make(chan struct{}, mostConnections)
	for {
		conn, err := l.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			select {
			case <-ctx.Done():
				return
			case <-time.After(100 * time.Millisecond): // no file is left, say
			}
			continue
		}
		select {
		case busy <- struct{}{}:
		default:
			_ = conn.Close()
			continue
		}
		s.running.Go(func() {
			defer func() { <-busy }()
			defer conn.Close()
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			s.connection(ctx, conn)
		})
	}
}

// connection answers the questions of one client, each behind its length.
func (s *Server) connection(ctx context.Context, conn *net.TCPConn) {
	from := conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
	if !s.isClient(from) {
		return
	}
	end := time.Now().Add(lifetime)
	buffer := make([]byte, longestQuery)
	for {
		deadline := time.Now().Add(idle)
		if deadline.After(end) {
			deadline = end
		}
		var length [2]byte
		if conn.SetDeadline(deadline) != nil {
			return
		}
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return
		}
		size := int(binary.BigEndian.Uint16(length[:]))
		if size > len(buffer) {
			return
		}
		if _, err := io.ReadFull(conn, buffer[:size]); err != nil {
			return
		}
		reply := s.answer(ctx, buffer[:size], from, true)
		if reply == nil {
			return
		}
		_ = conn.SetDeadline(time.Now().Add(idle))
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil {
			return
		}
	}
}
