//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/internal/daemon/libvirtd"
	"github.com/univirt/univirt/resource"
)

// eventLoop is the one that libvirt has for a whole process. It is started with
// the first connection and never ends: libvirt has no way to.
var eventLoop = sync.OnceValue(func() error {
	if err := lv.EventRegisterDefaultImpl(); err != nil {
		return err
	}
	go func() {
		for {
			// An error is of one turn of the loop, which has nobody to tell it to.
			_ = lv.EventRunDefaultImpl()
		}
	}()
	return nil
})

const (
	// aliveEvery and aliveMisses are how a daemon that hangs is found out: after six
	// seconds its connection ends, and with it every call that waits.
	aliveEvery  = 2
	aliveMisses = 2
	// reconnectPatience is how long a call waits for a connection that is lost.
	reconnectPatience = 2 * time.Second
)

// session is a connection with the events, and further ones for calls, until the
// first is lost.
//
// Of each connection one call is made at a time: where several threads wait for
// one connection, and it ends because the daemon hangs, libvirt's client can crash
// (seen on 9.0.0, with "g_main_loop_quit: assertion 'loop != NULL' failed").
type session struct {
	conn *lv.Connect
	// idle are the connections without a call, of which the last one used is the last,
	// free has a token for each, and spare is how many more may be opened. Within the
	// process there is one for all calls, and free is nil.
	idle  []*lane
	free  chan struct{}
	spare int
	lost  chan struct{}
	// transfers is a connection of a transfer that is over.
	transfers chan *lv.Connect
	// why is the reason of the loss, set before lost is closed.
	why   error
	once  sync.Once
	hooks []int

	mu     sync.Mutex
	closed bool
	users  sync.WaitGroup
}

// enter keeps the connection from being closed until leave: libvirt frees what
// calls may still use.
func (s *session) enter() (leave func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, false
	}
	s.users.Add(1)
	return s.users.Done, true
}

// lane returns a connection without a call, or nil where one may be opened.
func (s *session) lane(ctx context.Context) (*lane, error) {
	if l, ok := s.vacant(); ok {
		return l, nil
	}
	select {
	case <-s.free:
		return s.pop(), nil
	case <-ctx.Done():
		return nil, ended(ctx)
	case <-s.lost:
		return nil, &resource.Error{Kind: errdefs.ErrUnavailable, Err: s.why}
	}
}

// vacant is lane for a call that need not be made: it does not wait for one.
func (s *session) vacant() (_ *lane, ok bool) {
	if s.free == nil {
		return &lane{session: s, conn: s.conn}, true
	}
	select {
	case <-s.free:
		return s.pop(), true
	default:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.spare == 0 {
		return nil, false
	}
	s.spare--
	return nil, true
}

func (s *session) pop() *lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(s.idle) - 1
	l := s.idle[last]
	s.idle = s.idle[:last]
	return l
}

// leave gives a connection back after a call; nil where none could be opened.
func (s *session) leave(l *lane) {
	if s.free == nil {
		l.forget()
		return
	}
	if l != nil && l.conn != s.conn {
		if alive, err := l.conn.IsAlive(); err != nil || !alive {
			l.close()
			l = nil
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l == nil {
		s.spare++
		return
	}
	s.idle = append(s.idle, l)
	s.free <- struct{}{} // has room for all
}

// takeSpare returns the connection of a transfer before; nil where there is none that
// is alive.
func (s *session) takeSpare() *lv.Connect {
	select {
	case c := <-s.transfers:
		if alive, err := c.IsAlive(); err == nil && alive {
			return c
		}
		_, _ = c.Close()
	default:
	}
	return nil
}

// putSpare keeps the connection of a transfer that went well for another.
func (s *session) putSpare(c *lv.Connect, well bool) {
	if well {
		select {
		case s.transfers <- c:
			return
		default:
		}
	}
	_, _ = c.Close()
}

func (s *session) lose(why error) {
	s.once.Do(func() {
		s.why = why
		close(s.lost)
	})
}

// link holds the session of a provider, and makes a new one where that is lost.
type link struct {
	uri     string
	timeout time.Duration
	// begin registers what a new session needs, and resume is called with each
	// session but the first when it is in place.
	begin  func(*session) error
	resume func(*session)
	// broken is called with the reason when a session is lost.
	broken func(error)

	mu      sync.Mutex
	current *session
	// changed is closed when current or fault is another.
	changed chan struct{}
	// fault is why there is no session.
	fault error
	over  sync.WaitGroup
}

// open makes the first session, and keeps one until the context alive ends.
func (l *link) open(ctx, alive context.Context) error {
	l.changed = make(chan struct{})
	s, err := l.connect(ctx)
	if err != nil {
		return err
	}
	l.set(s, nil) // its events are heard already
	l.over.Go(func() { l.keep(alive, s) })
	return nil
}

// keep replaces a session that is lost.
func (l *link) keep(alive context.Context, s *session) {
	for {
		select {
		case <-alive.Done():
			l.end(s)
			return
		case <-s.lost:
		}
		l.set(nil, s.why)
		l.broken(s.why)
		l.end(s)
		for pause := 20 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
			next, err := l.connect(alive)
			if err == nil {
				s = next
				break
			}
			if alive.Err() != nil {
				return
			}
			l.set(nil, err)
			select {
			case <-alive.Done():
				return
			case <-time.After(pause):
			}
		}
		l.set(s, nil)
		l.resume(s)
	}
}

func (l *link) set(s *session, fault error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current, l.fault = s, fault
	close(l.changed)
	l.changed = make(chan struct{})
}

// session returns the session in place. Where it is lost another is waited for,
// for a moment.
func (l *link) session(ctx context.Context) (*session, error) {
	var patience <-chan time.Time
	for {
		l.mu.Lock()
		s, fault, changed := l.current, l.fault, l.changed
		l.mu.Unlock()
		if s != nil {
			select {
			case <-s.lost:
				// It is about to be replaced.
			default:
				return s, nil
			}
		}
		if patience == nil {
			patience = time.After(reconnectPatience)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ended(ctx)
		case <-patience:
			if fault == nil {
				fault = errLost
			}
			return nil, &resource.Error{Kind: errdefs.ErrUnavailable, Err: fault}
		}
	}
}

// connect opens a connection. Libvirt waits for an answer without end, so that one
// that does not come is found out first where that is possible. Elsewhere, behind
// SSH say, a thread stays until the daemon answers or dies, and what it opens then
// is closed again.
func (l *link) connect(ctx context.Context) (*session, error) {
	if err := eventLoop(); err != nil {
		return nil, translate(err)
	}
	bounded, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	if socket := socketOf(l.uri); socket != "" {
		// Other errors are libvirt's to tell.
		_, _ = libvirtd.AskVersion(bounded, socket)
		if bounded.Err() != nil {
			return nil, l.late(ctx)
		}
	}
	type answer struct {
		s   *session
		err error
	}
	answered := make(chan answer)
	go func() {
		s, err := l.dial()
		select {
		case answered <- answer{s, err}:
		case <-bounded.Done():
			if err == nil {
				l.end(s)
			}
		}
	}()
	select {
	case a := <-answered:
		return a.s, translate(a.err)
	case <-bounded.Done():
		return nil, l.late(ctx)
	}
}

// late is the error of an answer that does not come in time.
func (l *link) late(ctx context.Context) error {
	if ctx.Err() != nil {
		return ended(ctx)
	}
	return resource.Errorf(errdefs.ErrUnavailable, "%s: no answer within %s", l.uri, l.timeout)
}

// sockets are where the daemons of the system listen for the QEMU driver.
var sockets = []string{"/run/libvirt/virtqemud-sock", "/run/libvirt/libvirt-sock"}

// socketOf is the socket of this host that a URI leads to; empty where it leads
// elsewhere, or the socket is not there.
func socketOf(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Host != "" || u.Scheme != "qemu" && u.Scheme != "qemu+unix" {
		return ""
	}
	candidates := sockets
	if socket := u.Query().Get("socket"); socket != "" {
		candidates = []string{socket}
	} else if u.Path != "/system" {
		return ""
	}
	for _, socket := range candidates {
		if info, err := os.Stat(socket); err == nil && info.Mode().Type() == fs.ModeSocket {
			return socket
		}
	}
	return ""
}

func (l *link) dial() (*session, error) {
	conn, err := lv.NewConnect(l.uri)
	if err != nil {
		return nil, err
	}
	s := &session{conn: conn, lost: make(chan struct{}), transfers: make(chan *lv.Connect, 1)}
	if !strings.HasPrefix(l.uri, "test:") {
		s.spare = atOnce - 1
		s.free = make(chan struct{}, atOnce)
		s.leave(&lane{session: s, conn: conn})
	}
	err = conn.RegisterCloseCallback(func(_ *lv.Connect, reason lv.ConnectCloseReason) {
		s.lose(errors.Join(errLost, errors.New(closeReasons[reason])))
	})
	// A driver within the process has nothing to lose, and nothing to keep alive.
	if err == nil || errors.Is(err, lv.ERR_NO_SUPPORT) {
		err = conn.SetKeepAlive(aliveEvery, aliveMisses)
	}
	if err == nil || errors.Is(err, lv.ERR_NO_SUPPORT) {
		err = l.begin(s)
	}
	if err != nil {
		l.end(s)
		return nil, err
	}
	return s, nil
}

// another opens a further connection of a session.
func (l *link) another() (*lv.Connect, error) {
	conn, err := lv.NewConnect(l.uri)
	if err != nil {
		return nil, err
	}
	if err := conn.SetKeepAlive(aliveEvery, aliveMisses); err != nil && !errors.Is(err, lv.ERR_NO_SUPPORT) {
		_, _ = conn.Close()
		return nil, err
	}
	return conn, nil
}

var closeReasons = map[lv.ConnectCloseReason]string{
	lv.CONNECT_CLOSE_REASON_ERROR:     "it failed",
	lv.CONNECT_CLOSE_REASON_EOF:       "the daemon has gone",
	lv.CONNECT_CLOSE_REASON_KEEPALIVE: "the daemon does not answer",
	lv.CONNECT_CLOSE_REASON_CLIENT:    "it was closed",
}

// end closes a session when the calls under way have ended: those to a daemon that
// hangs do so when that is found out.
func (l *link) end(s *session) {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.users.Wait()
	for _, hook := range s.hooks {
		_ = s.conn.DomainEventDeregister(hook)
	}
	_ = s.conn.UnregisterCloseCallback()
	for _, l := range s.idle {
		l.forget()
		if l.conn != s.conn {
			l.close()
		}
	}
	if c := s.takeSpare(); c != nil {
		_, _ = c.Close()
	}
	_, _ = s.conn.Close()
	s.lose(errLost)
}
