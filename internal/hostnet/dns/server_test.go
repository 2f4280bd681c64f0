package dns

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

// names is what the network of the tests knows.
var names = NewTable([]Entry{
	{Names: []string{"web", "WWW", "web"}, Addresses: []netip.Addr{addr("10.0.0.2"), addr("fd00::2")}},
	{Names: []string{"db", "www"}, Addresses: []netip.Addr{addr("10.0.0.3")}},
	{Names: []string{"", "alias"}, Addresses: []netip.Addr{addr("fd00::4")}},
	{Names: []string{"bare"}},
})

func start(t *testing.T, c Config) *Server {
	t.Helper()
	c.Listen = []netip.AddrPort{loopback}
	if c.Clients == nil {
		c.Clients = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00::/64")}
	}
	c.Zone, c.Table = "Lab.Example", func() *Table { return names }
	s, err := Start(c)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()); assert.NoError(t, s.Close()) })
	return s
}

// upstream is a server of others, which answers as it is told to.
func upstream(t *testing.T, answer func(w dns.ResponseWriter, q *dns.Msg)) netip.AddrPort {
	t.Helper()
	udp, tcp, err := listen(loopback)
	require.NoError(t, err)
	for _, s := range []*dns.Server{{PacketConn: udp}, {Listener: tcp}} {
		s.Handler = dns.HandlerFunc(answer)
		began := make(chan struct{})
		s.NotifyStartedFunc = func() { close(began) }
		go func() { _ = s.ActivateAndServe() }()
		<-began
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	return tcp.Addr().(*net.TCPAddr).AddrPort()
}

// reply answers with texts, or a code.
func reply(code int, texts ...string) func(w dns.ResponseWriter, q *dns.Msg) {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetRcode(q, code)
		for _, text := range texts {
			m.Answer = append(m.Answer, &dns.TXT{Hdr: header(q.Question[0].Name, dns.TypeTXT), Txt: []string{text}})
		}
		if w.LocalAddr().Network() == "udp" {
			m.Truncate(plainSize)
		}
		_ = w.WriteMsg(m)
	}
}

func always(a ...netip.AddrPort) func() []netip.AddrPort {
	return func() []netip.AddrPort { return a }
}

func ask(t *testing.T, s *Server, protocol, name string, kind uint16) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, kind)
	client := dns.Client{Net: protocol, Timeout: 10 * time.Second}
	got, _, err := client.Exchange(m, s.Addresses()[0].String())
	require.NoError(t, err)
	return got
}

// values lists what the answers say.
func values(m *dns.Msg) []string {
	var out []string
	for _, rr := range m.Answer {
		out = append(out, strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	slices.Sort(out)
	return out
}

func TestAnswers(t *testing.T) {
	s := start(t, Config{Upstreams: always(upstream(t, reply(dns.RcodeSuccess, "from above")))})
	above := []string{`"from above"`}
	for _, c := range []struct {
		name string
		kind uint16
		code int
		want []string
	}{
		{"web.", dns.TypeA, dns.RcodeSuccess, []string{"10.0.0.2"}},
		{"web.", dns.TypeAAAA, dns.RcodeSuccess, []string{"fd00::2"}},
		{"WEB.lab.example.", dns.TypeA, dns.RcodeSuccess, []string{"10.0.0.2"}},
		{"www.", dns.TypeA, dns.RcodeSuccess, []string{"10.0.0.2", "10.0.0.3"}},
		{"web.", dns.TypeANY, dns.RcodeSuccess, []string{"10.0.0.2", "fd00::2"}},
		{"alias.lab.example.", dns.TypeAAAA, dns.RcodeSuccess, []string{"fd00::4"}},
		{"alias.lab.example.", dns.TypeA, dns.RcodeSuccess, nil},
		{"bare.", dns.TypeA, dns.RcodeSuccess, nil},
		{"web.", dns.TypeMX, dns.RcodeSuccess, nil},
		{"lab.example.", dns.TypeA, dns.RcodeSuccess, nil},
		{"absent.", dns.TypeA, dns.RcodeNameError, nil},
		{"absent.lab.example.", dns.TypeAAAA, dns.RcodeNameError, nil},
		{"a.web.lab.example.", dns.TypeA, dns.RcodeNameError, nil},
		{"2.0.0.10.in-addr.arpa.", dns.TypePTR, dns.RcodeSuccess, []string{"web.lab.example."}},
		{"3.0.0.10.in-addr.arpa.", dns.TypePTR, dns.RcodeSuccess, []string{"db.lab.example."}},
		{"9.0.0.10.in-addr.arpa.", dns.TypePTR, dns.RcodeNameError, nil},
		{"2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.D.F.ip6.arpa.", dns.TypePTR, dns.RcodeSuccess, []string{"web.lab.example."}},
		{"9.9.9.9.in-addr.arpa.", dns.TypeTXT, dns.RcodeSuccess, above},
		{"elsewhere.example.", dns.TypeTXT, dns.RcodeSuccess, above},
		{"notlab.example.", dns.TypeTXT, dns.RcodeSuccess, above},
		{".", dns.TypeTXT, dns.RcodeSuccess, above},
		{"web.", dns.TypeAXFR, dns.RcodeRefused, nil},
	} {
		for _, protocol := range []string{"udp", "tcp"} {
			t.Run(fmt.Sprint(c.name, dns.TypeToString[c.kind], protocol), func(t *testing.T) {
				got := ask(t, s, protocol, c.name, c.kind)
				assert.Equal(t, dns.RcodeToString[c.code], dns.RcodeToString[got.Rcode])
				assert.Equal(t, c.want, values(got))
				assert.True(t, got.RecursionAvailable)
				if strings.HasSuffix(c.name, ".lab.example.") && c.want == nil {
					require.Len(t, got.Ns, 1)
					assert.Equal(t, "lab.example.", got.Ns[0].Header().Name)
				}
			})
		}
	}
}

func TestSharedNamesTakeTurns(t *testing.T) {
	s := start(t, Config{})
	first := map[string]bool{}
	for range 64 {
		first[ask(t, s, "udp", "www.", dns.TypeA).Answer[0].(*dns.A).A.String()] = true
	}
	assert.Len(t, first, 2)
}

func TestWhoIsNoClientIsRefused(t *testing.T) {
	s := start(t, Config{Clients: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}})
	assert.Equal(t, dns.RcodeRefused, ask(t, s, "udp", "web.", dns.TypeA).Rcode)
	m := new(dns.Msg)
	m.SetQuestion("web.", dns.TypeA)
	client := dns.Client{Net: "tcp"}
	_, _, err := client.Exchange(m, s.Addresses()[0].String())
	require.Error(t, err)
}

func TestForwarding(t *testing.T) {
	long := strings.Repeat("x", 250)
	many := []string{long, long, long, long, long, long, long, long}
	var asked atomic.Int32
	counted := func(w dns.ResponseWriter, q *dns.Msg) { asked.Add(1); reply(dns.RcodeSuccess, "good")(w, q) }
	other := func(w dns.ResponseWriter, q *dns.Msg) {
		q = q.Copy()
		q.Question[0].Name = "another.example."
		reply(dns.RcodeSuccess, "forged")(w, q)
	}
	for _, c := range []struct {
		name, protocol string
		upstreams      []netip.AddrPort
		code           int
		answers        int
		cut            bool
	}{
		{"none", "udp", nil, dns.RcodeRefused, 0, false},
		{"one that is wrong for the next", "udp", []netip.AddrPort{upstream(t, reply(dns.RcodeServerFailure)), upstream(t, counted)}, dns.RcodeSuccess, 1, false},
		{"no such name", "udp", []netip.AddrPort{upstream(t, reply(dns.RcodeNameError)), upstream(t, counted)}, dns.RcodeNameError, 0, false},
		{"another question's answer", "udp", []netip.AddrPort{upstream(t, other)}, dns.RcodeServerFailure, 0, false},
		{"a long answer over TCP", "tcp", []netip.AddrPort{upstream(t, reply(dns.RcodeSuccess, many...))}, dns.RcodeSuccess, len(many), false},
		{"a long answer over UDP", "udp", []netip.AddrPort{upstream(t, reply(dns.RcodeSuccess, many...))}, dns.RcodeSuccess, 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ask(t, start(t, Config{Upstreams: always(c.upstreams...)}), c.protocol, "elsewhere.example.", dns.TypeTXT)
			assert.Equal(t, dns.RcodeToString[c.code], dns.RcodeToString[got.Rcode])
			assert.Len(t, got.Answer, c.answers)
			assert.Equal(t, c.cut, got.Truncated)
		})
	}
	assert.Equal(t, int32(1), asked.Load())
}

// TestSlowUpstreamsHoldUpNobodyElse asks for more than is forwarded at once, while
// nothing answers.
func TestSlowUpstreamsHoldUpNobodyElse(t *testing.T) {
	silent, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(loopback))
	require.NoError(t, err)
	defer silent.Close()
	s := start(t, Config{Upstreams: always(silent.LocalAddr().(*net.UDPAddr).AddrPort())})
	client, err := net.Dial("udp", s.Addresses()[0].String())
	require.NoError(t, err)
	defer client.Close()
	m := new(dns.Msg)
	m.SetQuestion("elsewhere.example.", dns.TypeA)
	packet, err := m.Pack()
	require.NoError(t, err)
	for range mostForwards + 1 {
		_, err := client.Write(packet)
		require.NoError(t, err)
	}
	// The one that is too many is told so at once.
	require.NoError(t, client.SetReadDeadline(time.Now().Add(10*time.Second)))
	buffer := make([]byte, plainSize)
	n, err := client.Read(buffer)
	require.NoError(t, err)
	require.NoError(t, m.Unpack(buffer[:n]))
	assert.Equal(t, dns.RcodeServerFailure, m.Rcode)
	assert.Equal(t, []string{"10.0.0.2"}, values(ask(t, s, "udp", "web.", dns.TypeA)))
}

func TestConnections(t *testing.T) {
	s := start(t, Config{})
	at := s.Addresses()[0].String()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", at)
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		require.NoError(t, c.SetDeadline(time.Now().Add(5*time.Second)))
		return c
	}
	t.Run("several questions", func(t *testing.T) {
		c := &dns.Conn{Conn: dial()}
		for range 3 {
			m := new(dns.Msg)
			m.SetQuestion("web.", dns.TypeA)
			require.NoError(t, c.WriteMsg(m))
			got, err := c.ReadMsg()
			require.NoError(t, err)
			assert.Equal(t, []string{"10.0.0.2"}, values(got))
		}
		_ = c.Close()
	})
	t.Run("a long message", func(t *testing.T) {
		c := dial()
		_, err := c.Write([]byte{0xff, 0xff})
		require.NoError(t, err)
		_, err = c.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
	})
	t.Run("too many", func(t *testing.T) {
		var all []net.Conn
		for range mostConnections + 4 {
			all = append(all, dial())
		}
		refused := 0
		for _, c := range all[mostConnections:] {
			if _, err := c.Read(make([]byte, 1)); err != nil {
				refused++
			}
		}
		assert.GreaterOrEqual(t, refused, 1)
	})
}

func TestPacketsThatAreNoQuestions(t *testing.T) {
	s := newServer(Config{Clients: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}, Zone: "lab", Table: func() *Table { return names }})
	query := new(dns.Msg)
	query.SetQuestion("web.", dns.TypeA)
	packed := func(change func(m *dns.Msg)) []byte {
		m := query.Copy()
		change(m)
		out, err := m.Pack()
		require.NoError(t, err)
		return out
	}
	good := packed(func(*dns.Msg) {})
	for _, c := range []struct {
		name   string
		packet []byte
		code   int // -1 for no answer
	}{
		{"nothing", nil, -1},
		{"half a header", good[:11], -1},
		{"an answer", packed(func(m *dns.Msg) { m.Response = true }), -1},
		{"half a question", good[:15], dns.RcodeFormatError},
		{"a loop", append(append([]byte{}, good[:12]...), 0xc0, 12, 0, 1, 0, 1), dns.RcodeFormatError},
		{"no question", packed(func(m *dns.Msg) { m.Question = nil }), dns.RcodeFormatError},
		{"two questions", packed(func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), dns.RcodeFormatError},
		{"an update", packed(func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }), dns.RcodeNotImplemented},
		{"another class", packed(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), dns.RcodeRefused},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := s.answer(t.Context(), c.packet, addr("10.0.0.9"), false)
			if c.code < 0 {
				assert.Nil(t, out)
				return
			}
			var m dns.Msg
			require.NoError(t, m.Unpack(out))
			assert.Equal(t, dns.RcodeToString[c.code], dns.RcodeToString[m.Rcode])
		})
	}
}

func FuzzAnswer(f *testing.F) {
	s := newServer(Config{Clients: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}, Zone: "lab", Table: func() *Table { return names }})
	for _, name := range []string{"web.", "web.lab.", ".", "2.0.0.10.in-addr.arpa.", "x.ip6.arpa.", `a\.b.lab.`} {
		for _, kind := range []uint16{dns.TypeA, dns.TypePTR, dns.TypeANY} {
			m := new(dns.Msg)
			m.SetQuestion(name, kind)
			m.SetEdns0(4096, true)
			packet, err := m.Pack()
			require.NoError(f, err)
			f.Add(packet)
		}
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		out := s.answer(context.Background(), packet, addr("10.0.0.9"), false)
		if out == nil {
			return
		}
		if len(out) > largestSize {
			t.Fatalf("%d bytes", len(out))
		}
		var m dns.Msg
		if err := m.Unpack(out); err != nil {
			t.Fatal(err)
		}
		if !m.Response || len(packet) > 1 && m.Id != uint16(packet[0])<<8|uint16(packet[1]) {
			t.Fatal("is no answer to the question")
		}
	})
}
