package compute_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
)

// answer serves one request with a text.
func answer(text string) func(net.Conn) {
	return func(conn net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			_, _ = io.WriteString(conn, text)
		}
	}
}

// secretly serves over TLS, with a certificate that nobody vouches for.
func secretly(t *testing.T, serve func(net.Conn)) func(net.Conn) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(-time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	require.NoError(t, err)
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: private}}}
	return func(conn net.Conn) {
		server := tls.Server(conn, config)
		serve(server)
		_ = server.Close()
	}
}

// hang takes a connection and says nothing, until the other side closes it.
func hang(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

func TestCheck(t *testing.T) {
	ports := []network.Port{{Name: "web", Instance: 80}, {Name: "admin", Protocol: network.TCP, Instance: 81}}
	status := func(line string) func(net.Conn) { return answer("HTTP/1.1 " + line + "\r\nContent-Length: 0\r\n\r\n") }
	probe := func(port string) compute.Probe { return compute.Probe{HTTP: &compute.HTTPProbe{Port: port}} }
	tlsProbe := compute.Probe{HTTP: &compute.HTTPProbe{Port: "443", HTTPS: true}}
	for name, c := range map[string]struct {
		probe compute.Probe
		serve func(net.Conn)
		// fails is a part of the message; empty where the probe passes.
		fails string
	}{
		"tcp":                       {compute.Probe{TCP: "80"}, hang, ""},
		"tcp by name":               {compute.Probe{TCP: "web"}, hang, ""},
		"tcp refused":               {compute.Probe{TCP: "81"}, nil, "nothing listens"},
		"tcp of no port":            {compute.Probe{TCP: "dns"}, nil, "is neither a number from 1 to 65535 nor the name of a port"},
		"http":                      {probe("80"), status("200 OK"), ""},
		"http by name":              {probe("web"), status("204 No Content"), ""},
		"http moved":                {probe("80"), status("301 Moved"), ""},
		"http 399":                  {probe("80"), status("399 Odd"), ""},
		"http not found":            {probe("80"), status("404 Not Found"), `answered with "404 Not Found"`},
		"http error":                {probe("80"), status("500 \x1b[31m"), `answered with "500 \x1b[31m"`},
		"http later":                {probe("80"), answer("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), ""},
		"http hints for ever":       {probe("80"), answer(strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 10_000)), "EOF"},
		"http that is none":         {probe("80"), answer("SSH-2.0-OpenSSH\r\n"), "malformed HTTP"},
		"http that ends":            {probe("80"), func(net.Conn) {}, ""},
		"http with an endless head": {probe("80"), answer("HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 1<<20)), "malformed MIME header"},
		"http with an endless body": {probe("80"), answer("HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", 1<<20)), ""},
		"http refused":              {probe("81"), nil, "nothing listens"},
		"http that hangs":           {probe("80"), hang, "deadline exceeded"},
		"https":                     {tlsProbe, secretly(t, status("200 OK")), ""},
		"https, not well":           {tlsProbe, secretly(t, status("503 Not Yet")), "503 Not Yet"},
		"https that is none":        {tlsProbe, answer("HTTP/1.1 200 OK\r\n\r\n"), ""},
		"https that hangs":          {tlsProbe, hang, "deadline exceeded"},
		"nothing":                   {compute.Probe{}, nil, "the probe checks nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			// The bubble ends only when every goroutine of the probe has.
			synctest.Test(t, func(t *testing.T) {
				inst := &reachable{watched: watched{running(compute.Spec{})}}
				if c.serve != nil {
					inst.listen = map[uint16]func(net.Conn){80: c.serve, 443: c.serve}
				}
				begun := time.Now()
				err := compute.Check(t.Context(), wrapped{inst}, c.probe, ports)
				switch {
				case name == "http that ends" || name == "https that is none":
					assert.Error(t, err)
				case c.fails == "":
					assert.NoError(t, err)
				default:
					assert.ErrorContains(t, err, c.fails)
				}
				if strings.Contains(name, "hangs") {
					assert.ErrorIs(t, err, context.DeadlineExceeded)
					assert.Equal(t, time.Second, time.Since(begun), "the timeout where the probe has none")
				}
			})
		})
	}
}

func TestCheckSendsWhatTheProbeSays(t *testing.T) {
	for _, c := range []struct {
		path, want string
	}{{"", "/"}, {"/ready", "/ready"}, {"/a/../b?c=d&e=%20", "/a/../b?c=d&e=%20"}} {
		synctest.Test(t, func(t *testing.T) {
			inst := &reachable{watched: watched{running(compute.Spec{})}}
			inst.listen = map[uint16]func(net.Conn){80: func(conn net.Conn) {
				request, err := http.ReadRequest(bufio.NewReader(conn))
				if assert.NoError(t, err) {
					assert.Equal(t, "GET", request.Method)
					assert.Equal(t, c.want, request.RequestURI)
					assert.Equal(t, "instance", request.Host)
					assert.True(t, request.Close)
				}
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
			}}
			assert.NoError(t, compute.Check(t.Context(), inst, compute.Probe{HTTP: &compute.HTTPProbe{Port: "80", Path: c.path}}, nil))
		})
	}
}

func TestCheckByCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inst := &reachable{watched: watched{running(compute.Spec{})}, killed: make(chan string, 1)}
		probe := compute.Probe{Exec: []string{"check"}, Timeout: time.Minute}
		exit := compute.ExecExit{Known: true}
		inst.exec = func(_ context.Context, spec compute.ExecSpec) (compute.ExecExit, error) {
			assert.Nil(t, spec.Stdout, "what a probe writes is kept nowhere")
			return exit, nil
		}
		assert.NoError(t, compute.Check(t.Context(), inst, probe, nil))
		exit.Code = 1
		var failed *compute.ExitError
		assert.ErrorAs(t, compute.Check(t.Context(), inst, probe, nil), &failed)

		inst.exec = func(ctx context.Context, _ compute.ExecSpec) (compute.ExecExit, error) {
			<-ctx.Done()
			return compute.ExecExit{}, nil
		}
		begun := time.Now()
		assert.ErrorIs(t, compute.Check(t.Context(), inst, probe, nil), context.DeadlineExceeded)
		assert.Equal(t, time.Minute, time.Since(begun))
		assert.Equal(t, "SIGKILL", <-inst.killed)
	})
}

func TestCheckOfWhatTheProviderHasNot(t *testing.T) {
	for _, probe := range []compute.Probe{
		{Exec: []string{"check"}}, {TCP: "80"}, {HTTP: &compute.HTTPProbe{Port: "80"}},
	} {
		assert.ErrorIs(t, compute.Check(t.Context(), running(compute.Spec{}), probe, nil), errors.ErrUnsupported)
	}
}

func TestDial(t *testing.T) {
	m := running(compute.Spec{Ports: []network.Port{{Name: "web", Instance: 80}, {Name: "dns", Protocol: network.UDP, Instance: 53}}})
	inst := &reachable{watched: watched{m}, listen: map[uint16]func(net.Conn){
		80: func(conn net.Conn) { _, _ = io.WriteString(conn, "hello") },
		53: hang,
	}}
	for _, port := range []string{"80", "web"} {
		conn, err := compute.Dial(t.Context(), wrapped{inst}, port)
		require.NoError(t, err, port)
		var out bytes.Buffer
		_, err = io.Copy(&out, conn)
		require.NoError(t, err)
		assert.Equal(t, "hello", out.String())
		assert.NoError(t, conn.Close())
	}
	_, err := compute.Dial(t.Context(), inst, "dns")
	assert.True(t, errdefs.IsUnavailable(err), "another protocol: %v", err)
	_, err = compute.Dial(t.Context(), inst, "81")
	assert.True(t, errdefs.IsUnavailable(err), "%v", err)
	for _, port := range []string{"", "0", "65536", "nope", "web ", "-1", "\x00"} {
		_, err = compute.Dial(t.Context(), inst, port)
		assert.True(t, errdefs.IsInvalidArgument(err), "%q: %v", port, err)
	}
	_, err = compute.Dial(t.Context(), m, "80")
	assert.ErrorIs(t, err, errors.ErrUnsupported)
	m.info.Spec = nil
	_, err = compute.Dial(t.Context(), inst, "web")
	assert.True(t, errdefs.IsInvalidArgument(err), "a foreign instance has no names of ports: %v", err)
	m.gone = true
	_, err = compute.Dial(t.Context(), inst, "web")
	assert.True(t, errdefs.IsNotFound(err), "%v", err)
}

func TestFindPort(t *testing.T) {
	ports := []network.Port{
		{Name: "dns", Protocol: network.UDP, Instance: 53}, {Name: "web", Instance: 80}, {Protocol: network.TCP, Instance: 81, Host: 8081},
	}
	for text, want := range map[string]network.Port{
		"dns": ports[0], "web": ports[1], "80": ports[1], "81": ports[2], "0081": ports[2],
		"53":    {Protocol: network.TCP, Instance: 53},
		"65535": {Protocol: network.TCP, Instance: 65535},
	} {
		got, err := compute.FindPort(ports, text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "0", "65536", "+80", "-80", "WEB", "80/tcp", " 80", "8 0", "٨٠", strings.Repeat("9", 1<<20)} {
		_, err := compute.FindPort(ports, text)
		assert.True(t, errdefs.IsInvalidArgument(err), "%.80q", text)
		assert.Less(t, len(err.Error()), 300)
	}
}
