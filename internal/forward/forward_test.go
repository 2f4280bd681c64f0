//go:build linux

package forward

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/internal/netns"
)

var loopback = netip.MustParseAddr("127.0.0.1")

func dial(ctx context.Context, protocol string, to netip.AddrPort) (net.Conn, error) {
	return netns.Dial(ctx, nil, protocol, to)
}

func at(a net.Addr) netip.AddrPort { return netip.MustParseAddrPort(a.String()) }

// begin forwards to addresses until the end of the test, at which nothing goes on.
func begin(t *testing.T, rule Rule) netip.AddrPort {
	t.Helper()
	f, err := Listen(rule, dial)
	require.NoError(t, err)
	run(t, f)
	return f.Addr()
}

func run(t *testing.T, f *Forwarder) {
	t.Helper()
	before := runtime.NumGoroutine()
	served := make(chan struct{})
	go func() { f.Serve(); close(served) }()
	t.Cleanup(func() {
		f.Close()
		<-served
		assert.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+1 }, 5*time.Second, 5*time.Millisecond, "goroutines go on")
	})
}

// server serves each connection with a function.
func server(t *testing.T, serve func(*net.TCPConn)) netip.AddrPort {
	t.Helper()
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
	require.NoError(t, err)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.AcceptTCP()
			if err != nil {
				return
			}
			all.Go(func() { defer conn.Close(); serve(conn) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); all.Wait() })
	return at(l.Addr())
}

func echo(conn *net.TCPConn) { _, _ = io.Copy(conn, conn) }

func connect(t testing.TB, to netip.AddrPort) *net.TCPConn {
	t.Helper()
	conn, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(to))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	return conn
}

// resets requires a connection to be reset, which may come before it is there.
func resets(t *testing.T, to netip.AddrPort) {
	t.Helper()
	conn, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(to))
	if err == nil {
		defer conn.Close()
		_, err = conn.Read(make([]byte, 1))
	}
	require.ErrorIs(t, err, syscall.ECONNRESET)
}

func tcp(to ...netip.AddrPort) Rule {
	return Rule{Protocol: "tcp", Listen: netip.AddrPortFrom(loopback, 0), To: to}
}

func TestEachDirectionHasItsOwnEnd(t *testing.T) {
	t.Run("the client's first", func(t *testing.T) {
		conn := connect(t, begin(t, tcp(server(t, func(c *net.TCPConn) {
			text, _ := io.ReadAll(c)
			_, _ = fmt.Fprintf(c, "%d bytes", len(text))
		}))))
		_, err := conn.Write(make([]byte, 1<<20))
		require.NoError(t, err)
		require.NoError(t, conn.CloseWrite())
		text, err := io.ReadAll(conn)
		require.NoError(t, err)
		assert.Equal(t, "1048576 bytes", string(text))
	})
	t.Run("the server's first", func(t *testing.T) {
		got := make(chan string, 1)
		conn := connect(t, begin(t, tcp(server(t, func(c *net.TCPConn) {
			_, _ = io.WriteString(c, "bye")
			_ = c.CloseWrite()
			text, _ := io.ReadAll(c)
			got <- string(text)
		}))))
		text, err := io.ReadAll(conn)
		require.NoError(t, err)
		assert.Equal(t, "bye", string(text))
		_, err = io.WriteString(conn, "one more thing")
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		assert.Equal(t, "one more thing", <-got)
	})
}

func TestAResetIsAReset(t *testing.T) {
	got := make(chan error, 1)
	to := begin(t, tcp(server(t, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "x")
		_, err := c.Read(make([]byte, 1))
		got <- err
	})))
	conn := connect(t, to)
	_, err := conn.Read(make([]byte, 1))
	require.NoError(t, err)
	reset(conn)
	require.ErrorIs(t, <-got, syscall.ECONNRESET, "of the client's")

	resets(t, begin(t, tcp(server(t, reset))))
}

func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	deaf := at(l.Addr())
	require.NoError(t, l.Close())
	resets(t, begin(t, tcp(deaf)))

	conn := connect(t, begin(t, tcp(deaf, server(t, echo))))
	_, err = io.WriteString(conn, "x")
	require.NoError(t, err)
	_, err = conn.Read(make([]byte, 1))
	require.NoError(t, err, "of the second address")
}

func TestManyConnections(t *testing.T) {
	to := begin(t, tcp(server(t, echo)))
	const many = 500
	conns := make([]*net.TCPConn, many)
	var all sync.WaitGroup
	for i := range conns {
		all.Go(func() {
			conn := connect(t, to)
			conns[i] = conn
			text := bytes.Repeat([]byte{byte(i)}, 10_000)
			_, err := conn.Write(text)
			assert.NoError(t, err)
			back := make([]byte, len(text))
			_, err = io.ReadFull(conn, back)
			assert.NoError(t, err)
			assert.True(t, bytes.Equal(text, back))
		})
	}
	all.Wait()
	for i, conn := range conns {
		_, err := conn.Write([]byte{1})
		require.NoError(t, err)
		_, err = conn.Read(make([]byte, 1))
		require.NoError(t, err, "all are open at once: %d", i)
	}
}

// TestAReaderThatDoesNotReadStopsTheWriter has nobody between two ends keep what is
// not read.
func TestAReaderThatDoesNotReadStopsTheWriter(t *testing.T) {
	read := make(chan struct{})
	defer close(read)
	conn := connect(t, begin(t, tcp(server(t, func(*net.TCPConn) { <-read }))))
	require.NoError(t, conn.SetWriteDeadline(time.Now().Add(500*time.Millisecond)))
	n, err := io.Copy(conn, bytes.NewReader(make([]byte, 1<<28)))
	var stopped net.Error
	require.ErrorAs(t, err, &stopped)
	assert.True(t, stopped.Timeout())
	assert.Less(t, n, int64(1<<27))
}

func TestCloseEndsConnectionsAndGivesThePortBack(t *testing.T) {
	rule := tcp(server(t, echo))
	f, err := Listen(rule, dial)
	require.NoError(t, err)
	served := make(chan struct{})
	go func() { f.Serve(); close(served) }()
	conn := connect(t, f.Addr())
	_, err = io.WriteString(conn, "x")
	require.NoError(t, err)
	_, err = conn.Read(make([]byte, 1))
	require.NoError(t, err)

	rule.Listen = f.Addr()
	_, err = Listen(rule, dial)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	f.Close()
	<-served
	_, err = conn.Read(make([]byte, 1))
	require.Error(t, err)
	begin(t, rule)
}

func TestWhatComesBeforeServeWaits(t *testing.T) {
	f, err := Listen(tcp(server(t, echo)), dial)
	require.NoError(t, err)
	conn := connect(t, f.Addr())
	_, err = io.WriteString(conn, "x")
	require.NoError(t, err)
	run(t, f)
	_, err = conn.Read(make([]byte, 1))
	require.NoError(t, err)
}

// TestAServerThatIsNotReached is closed while it dials.
func TestAServerThatIsNotReached(t *testing.T) {
	dials := make(chan struct{}, 1)
	f, err := Listen(tcp(netip.MustParseAddrPort("192.0.2.1:1")), func(ctx context.Context, _ string, _ netip.AddrPort) (net.Conn, error) {
		dials <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	require.NoError(t, err)
	run(t, f)
	connect(t, f.Addr())
	<-dials
}

// answerer answers each datagram, with who has sent it in front.
func answerer(t *testing.T, on string) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(on)))
	require.NoError(t, err)
	var served sync.WaitGroup
	served.Go(func() {
		buf := make([]byte, mostDatagram)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			_, _ = conn.WriteToUDPAddrPort(append([]byte(from.String()+" "), buf[:n]...), from)
		}
	})
	t.Cleanup(func() { _ = conn.Close(); served.Wait() })
	return conn
}

func udp(to netip.AddrPort) Rule {
	return Rule{Protocol: "udp", Listen: netip.AddrPortFrom(loopback, 0), To: []netip.AddrPort{to}}
}

func client(t testing.TB, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// ask sends a datagram until there is an answer, and returns that without what is
// sent.
func ask(t testing.TB, conn *net.UDPConn, text string) string {
	t.Helper()
	buf := make([]byte, mostDatagram)
	for range 100 {
		_, err := io.WriteString(conn, text)
		require.NoError(t, err)
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(200*time.Millisecond)))
		if n, err := conn.Read(buf); err == nil {
			from, said, _ := bytes.Cut(buf[:n], []byte(" "))
			require.Equal(t, text, string(said))
			return string(from)
		}
	}
	require.Fail(t, "no answer")
	return ""
}

func TestAnswersFindTheirClients(t *testing.T) {
	to := begin(t, udp(at(answerer(t, "127.0.0.1:0").LocalAddr())))
	flows := map[string]bool{}
	for i := range 50 {
		conn := client(t, to)
		first := ask(t, conn, fmt.Sprint("client ", i))
		assert.Equal(t, first, ask(t, conn, fmt.Sprint("again ", i)), "one flow")
		flows[first] = true
	}
	assert.Len(t, flows, 50)
	large := string(bytes.Repeat([]byte("x"), 60_000))
	ask(t, client(t, to), large)
}

func TestADatagramThatNobodyTakesEndsNoFlow(t *testing.T) {
	server := answerer(t, "127.0.0.1:0")
	where := at(server.LocalAddr())
	require.NoError(t, server.Close())
	conn := client(t, begin(t, udp(where)))
	for range 3 {
		_, err := io.WriteString(conn, "lost")
		require.NoError(t, err)
		time.Sleep(10 * time.Millisecond) // so that the refusal is there
	}
	answerer(t, where.String())
	// What was sent before may not be answered by now.
	ask(t, conn, "found")
}

func TestAFlowEndsThatIsNotUsed(t *testing.T) {
	server := answerer(t, "127.0.0.1:0")
	f, err := listenDatagrams(udp(at(server.LocalAddr())), dial, 100*time.Millisecond)
	require.NoError(t, err)
	before := runtime.NumGoroutine()
	run(t, f)
	conn := client(t, f.Addr())
	first := ask(t, conn, "one")
	// There are Serve and what looks.
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+2 }, 5*time.Second, 5*time.Millisecond)
	assert.NotEqual(t, first, ask(t, conn, "two"))
}

// TestAnAnswerComesFromWhereTheClientSendsTo is of a port on all addresses.
func TestAnAnswerComesFromWhereTheClientSendsTo(t *testing.T) {
	server := at(answerer(t, "127.0.0.1:0").LocalAddr())
	for any, to := range map[string]string{"0.0.0.0": "127.3.2.1", "::": "::1"} {
		t.Run(any, func(t *testing.T) {
			rule := udp(server)
			rule.Listen = netip.AddrPortFrom(netip.MustParseAddr(any), 0)
			f, err := Listen(rule, dial)
			if errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL) {
				t.Skip(err)
			}
			require.NoError(t, err)
			run(t, f)
			// A connected socket takes answers from nowhere else.
			ask(t, client(t, netip.AddrPortFrom(netip.MustParseAddr(to), f.Addr().Port())), "x")
		})
	}
}

func TestBothFamiliesOfAllAddresses(t *testing.T) {
	for _, protocol := range []string{"tcp", "udp"} {
		to := []netip.AddrPort{netip.AddrPortFrom(loopback, 1)}
		six, err := Listen(Rule{protocol, netip.MustParseAddrPort("[::]:0"), to}, dial)
		if err != nil {
			t.Skip(err)
		}
		four, err := Listen(Rule{protocol, netip.AddrPortFrom(netip.IPv4Unspecified(), six.Addr().Port()), to}, dial)
		require.NoError(t, err)
		assert.Equal(t, "0.0.0.0", four.Addr().Addr().String())
		four.Close()
		six.Close()
	}
}

func TestRulesThatAreNone(t *testing.T) {
	_, err := Listen(Rule{Protocol: "tcp", Listen: netip.AddrPortFrom(loopback, 0)}, dial)
	require.Error(t, err)
	_, err = Listen(Rule{Protocol: "sctp", Listen: netip.AddrPortFrom(loopback, 0), To: []netip.AddrPort{netip.AddrPortFrom(loopback, 1)}}, dial)
	require.Error(t, err)
}
