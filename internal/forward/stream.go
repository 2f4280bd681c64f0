package forward

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// streams forwards the connections of one port.
type streams struct {
	rule     Rule
	dial     Dial
	listener *net.TCPListener
	ctx      context.Context
	cancel   context.CancelFunc
	// begun are the connections.
	begun sync.WaitGroup
	mu    sync.Mutex
	open  map[*net.TCPConn]struct{} // nil: closed
}

func listenStream(rule Rule, dial Dial) (*Forwarder, error) {
	l, err := net.ListenTCP(family("tcp", rule.Listen.Addr()), net.TCPAddrFromAddrPort(rule.Listen))
	if err != nil {
		return nil, err
	}
	s := &streams{rule: rule, dial: dial, listener: l, open: map[*net.TCPConn]struct{}{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	at := l.Addr().(*net.TCPAddr).AddrPort()
	return &Forwarder{netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), s.serve, s.close}, nil
}

func (s *streams) serve() {
	for pause := time.Duration(0); ; {
		conn, err := s.listener.AcceptTCP()
		switch {
		case err == nil:
			pause = 0
			if s.hold(conn) {
				go func() { defer s.begun.Done(); s.forward(conn) }()
			}
			continue
		case errors.Is(err, net.ErrClosed):
			return
		}
		// There are too many files open, as a rule. The queue keeps who waits.
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		select {
		case <-time.After(pause):
		case <-s.ctx.Done():
			return
		}
	}
}

// hold remembers a connection, or ends it.
func (s *streams) hold(conn *net.TCPConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		reset(conn)
		return false
	}
	s.open[conn] = struct{}{}
	s.begun.Add(1)
	return true
}

func (s *streams) release(conn *net.TCPConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, conn)
}

func (s *streams) close() {
	s.cancel()
	_ = s.listener.Close()
	s.mu.Lock()
	open := s.open
	s.open = nil
	s.mu.Unlock()
	for conn := range open {
		reset(conn)
	}
	s.begun.Wait()
}

// forward carries a connection on. One that nobody takes is reset, as it would be
// without anybody between.
func (s *streams) forward(near *net.TCPConn) {
	defer s.release(near)
	far := s.reach()
	if far == nil {
		reset(near)
		return
	}
	// The end of one side is the other's, and that of this forwarder both sides'.
	stop := context.AfterFunc(s.ctx, func() { reset(far) })
	defer stop()
	back := make(chan error, 1)
	go func() { back <- carry(near, far) }()
	err := errors.Join(carry(far, near), <-back)
	if err != nil {
		reset(near)
		reset(far)
		return
	}
	_ = near.Close()
	_ = far.Close()
}

// reach connects to the first address that takes the connection.
func (s *streams) reach() *net.TCPConn {
	for _, to := range s.rule.To {
		ctx, cancel := context.WithTimeout(s.ctx, dialTimeout)
		conn, err := s.dial(ctx, "tcp", to)
		cancel()
		if err == nil {
			return conn.(*net.TCPConn)
		}
	}
	return nil
}

// carry copies one direction, and its end. Where that fails nothing goes on in the
// other one either.
func carry(to, from *net.TCPConn) error {
	_, err := io.Copy(to, from)
	if err != nil {
		reset(to)
		reset(from)
		return err
	}
	_ = to.CloseWrite() // which fails where the other side is gone already
	return nil
}

// reset ends a connection such that the other side is told that it was not done.
func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0)
	_ = conn.Close()
}
