package forward

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// mostDatagram is what a datagram holds at most.
const mostDatagram = 1 << 16

// datagrams forwards the datagrams of one port. Whom an answer is meant for is told
// by the socket that it comes to: each client has one of its own.
type datagrams struct {
	rule Rule
	dial Dial
	idle time.Duration
	conn *net.UDPConn
	// any says that it listens on all addresses, so that an answer must be told which
	// of them it comes from.
	any    bool
	ctx    context.Context
	cancel context.CancelFunc
	begun  sync.WaitGroup
	mu     sync.Mutex
	flows  map[netip.AddrPort]*flow // nil: closed
}

// flow is what one client sends, and is answered.
type flow struct {
	client netip.AddrPort
	// from is the control message that has the answers come from where the client
	// sends to.
	from []byte
	far  net.Conn
	// used is when the flow was used, in nanoseconds since the forwarder began.
	used atomic.Int64
}

func listenDatagrams(rule Rule, dial Dial, idle time.Duration) (*Forwarder, error) {
	conn, err := net.ListenUDP(family("udp", rule.Listen.Addr()), net.UDPAddrFromAddrPort(rule.Listen))
	if err != nil {
		return nil, err
	}
	d := &datagrams{rule: rule, dial: dial, idle: idle, conn: conn, flows: map[netip.AddrPort]*flow{}}
	if d.any = rule.Listen.Addr().IsUnspecified(); d.any {
		if err := wantDestination(conn, rule.Listen.Addr().Is6()); err != nil {
			_ = conn.Close()
			return nil, err
		}
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	at := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	return &Forwarder{netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), d.serve, d.close}, nil
}

func (d *datagrams) serve() {
	buf, control := make([]byte, mostDatagram), make([]byte, controlSize)
	for {
		n, c, _, client, err := d.conn.ReadMsgUDPAddrPort(buf, control)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			continue // that an answer did not arrive
		}
		f := d.flow(client, control[:c])
		if f == nil {
			continue
		}
		f.used.Store(now())
		// An error is that of a datagram before, and this one may be the first that is
		// waited for.
		if _, err := f.far.Write(buf[:n]); refused(err) {
			_, _ = f.far.Write(buf[:n])
		}
	}
}

// flow finds the flow of a client, or begins one; nil where that cannot be.
func (d *datagrams) flow(client netip.AddrPort, control []byte) *flow {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.flows[client]; f != nil {
		f.used.Store(now())
		return f
	}
	if d.flows == nil || len(d.flows) >= mostFlows {
		return nil
	}
	far, err := d.dial(d.ctx, "udp", d.rule.To[0])
	if err != nil {
		return nil
	}
	f := &flow{client: client, far: far}
	if d.any {
		f.from = answerFrom(control, d.rule.Listen.Addr().Is6())
	}
	f.used.Store(now())
	d.flows[client] = f
	d.begun.Add(1)
	go func() { defer d.begun.Done(); d.answer(f) }()
	return f
}

// answer carries the answers to a client until the flow is not used any more.
func (d *datagrams) answer(f *flow) {
	defer f.far.Close()
	buf := make([]byte, mostDatagram)
	for {
		_ = f.far.SetReadDeadline(time.Now().Add(d.idle - time.Duration(now()-f.used.Load())))
		n, err := f.far.Read(buf)
		switch {
		case err == nil:
			f.used.Store(now())
			_, _, _ = d.conn.WriteMsgUDPAddrPort(buf[:n], f.from, f.client)
		case errors.Is(err, os.ErrDeadlineExceeded):
			if d.forget(f) {
				return
			}
		case refused(err):
			// Nobody listens so far.
		default:
			d.drop(f)
			return
		}
	}
}

// forget ends a flow that was not used for long enough.
func (d *datagrams) forget(f *flow) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Duration(now()-f.used.Load()) < d.idle {
		return false
	}
	delete(d.flows, f.client)
	return true
}

func (d *datagrams) drop(f *flow) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.flows, f.client)
}

func (d *datagrams) close() {
	d.cancel()
	_ = d.conn.Close()
	d.mu.Lock()
	flows := d.flows
	d.flows = nil
	d.mu.Unlock()
	for _, f := range flows {
		_ = f.far.Close()
	}
	d.begun.Wait()
}

// refused reports whether an error says no more than that an earlier datagram has
// found nobody.
func refused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH)
}

var start = time.Now()

// now is a time that no clock sets.
func now() int64 { return int64(time.Since(start)) }
