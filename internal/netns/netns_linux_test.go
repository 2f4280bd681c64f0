package netns_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/internal/netns"
)

func at(a net.Addr) netip.AddrPort { return netip.MustParseAddrPort(a.String()) }

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestDialsInItsOwnNamespace(t *testing.T) {
	l := listen(t)
	conn, err := netns.Dial(t.Context(), nil, "tcp", at(l.Addr()))
	require.NoError(t, err)
	defer conn.Close()
	far, err := l.Accept()
	require.NoError(t, err)
	defer far.Close()
	_, err = conn.Write([]byte("hello"))
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	text, err := io.ReadAll(far)
	require.NoError(t, err)
	assert.Equal(t, "hello", string(text))
}

func TestRefused(t *testing.T) {
	l := listen(t)
	to := at(l.Addr())
	require.NoError(t, l.Close())
	_, err := netns.Dial(t.Context(), nil, "tcp", to)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	conn, err := netns.Dial(t.Context(), nil, "udp", to)
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("x"))
	require.NoError(t, err)
	_, err = conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}

func TestTheContextBoundsDialling(t *testing.T) {
	// A socket whose queue is full answers nobody.
	l := listen(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	raw, err := l.(*net.TCPListener).SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) { _ = syscall.Listen(int(fd), 0) }))
	for {
		conn, err := netns.Dial(ctx, nil, "tcp", at(l.Addr()))
		if err != nil {
			require.ErrorIs(t, err, context.DeadlineExceeded)
			break
		}
		defer conn.Close()
	}
	gone, end := context.WithCancel(t.Context())
	end()
	_, err = netns.Dial(gone, nil, "tcp", at(l.Addr()))
	require.ErrorIs(t, err, context.Canceled)
}

func TestResetIsTold(t *testing.T) {
	l := listen(t)
	conn, err := netns.Dial(t.Context(), nil, "tcp", at(l.Addr()))
	require.NoError(t, err)
	defer conn.Close()
	told := make(chan error, 1)
	go func() { _, err := conn.Read(make([]byte, 1)); told <- err }()
	time.Sleep(20 * time.Millisecond) // so that the read waits, as a rule
	require.NoError(t, netns.Reset(conn.(*net.TCPConn)))
	require.ErrorIs(t, <-told, syscall.ECONNRESET)
	_, err = conn.Write([]byte("x"))
	require.Error(t, err)
}

// TestDialsInAnotherNamespace connects to a program in a namespace of its own, whose
// loopback is not this one's.
func TestDialsInAnotherNamespace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	own, err := os.Readlink("/proc/self/ns/net")
	require.NoError(t, err)
	none, err := netns.Open("/proc/self/ns/net")
	require.NoError(t, err)
	require.Nil(t, none)
	far := exec.Command("/bin/cat")
	far.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	stdin, err := far.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, far.Start())
	t.Cleanup(func() { _ = stdin.Close(); _ = far.Wait() })
	namespace, err := netns.Open(filepath.Join("/proc", strconv.Itoa(far.Process.Pid), "ns/net"))
	require.NoError(t, err)
	require.NotNil(t, namespace)
	defer namespace.Close()
	l := listen(t)
	// There even loopback is down.
	_, err = netns.Dial(t.Context(), namespace, "tcp", at(l.Addr()))
	require.ErrorIs(t, err, syscall.ENETUNREACH)
	for range 50 {
		conn, err := netns.Dial(t.Context(), nil, "tcp", at(l.Addr()))
		require.NoError(t, err, "no thread stayed in there")
		require.NoError(t, conn.Close())
	}
	now, err := os.Readlink("/proc/self/ns/net")
	require.NoError(t, err)
	assert.Equal(t, own, now)
}
