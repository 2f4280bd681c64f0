package keeper_test

import (
	"bytes"
	"context"
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

	"github.com/univirt/univirt/internal/filelock"
	"github.com/univirt/univirt/internal/forward"
	"github.com/univirt/univirt/internal/keeper"
)

// marked starts a process that runs until the end of the test, with a word in its
// command line.
func marked(t *testing.T, mark string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "read x", "sh", mark, "")
	_, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	// Start returns when files are closed for the new program, a moment before the kernel
	// shows its command line.
	require.Eventually(t, func() bool {
		line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "cmdline"))
		return err == nil && bytes.Contains(line, []byte(mark))
	}, 10*time.Second, time.Millisecond)
	return cmd
}

// greeter says a word to whoever connects.
func greeter(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("hello"))
			_ = conn.Close()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

func greeted(port uint16) bool {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))), 5*time.Second)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	text := make([]byte, 5)
	n, _ := conn.Read(text)
	return string(text[:n]) == "hello"
}

func forwardOptions(t *testing.T, to netip.AddrPort) keeper.ForwardOptions {
	return keeper.ForwardOptions{
		File: filepath.Join(t.TempDir(), "ports"), Name: "test", Mark: "mark-" + t.Name(),
		Rules: []forward.Rule{
			{Protocol: "tcp", Listen: netip.MustParseAddrPort("127.0.0.1:0"), To: []netip.AddrPort{to}},
			{Protocol: "udp", Listen: netip.MustParseAddrPort("127.0.0.1:0"), To: []netip.AddrPort{to}},
		},
	}
}

func helper(t *testing.T) string {
	t.Helper()
	path, err := keeper.Install(filepath.Join(t.TempDir(), "bin"))
	require.NoError(t, err)
	return path
}

// requireReleased waits until the helper of a file has ended.
func requireReleased(t *testing.T, file string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	lock, err := filelock.Acquire(ctx, file, filelock.Exclusive)
	require.NoError(t, err)
	lock.Release()
}

func TestForwardsAsLongAsAProcessRuns(t *testing.T) {
	path, o := helper(t), forwardOptions(t, greeter(t))
	f, err := keeper.StartForward(t.Context(), path, o)
	require.NoError(t, err)
	require.Len(t, f.Ports, 2)
	content, err := os.ReadFile(o.File)
	require.NoError(t, err)
	assert.Equal(t, f.Ports, keeper.ForwardedPorts(content))
	_, err = keeper.StartForward(t.Context(), path, o)
	require.ErrorIs(t, err, keeper.ErrForwarded)

	run := marked(t, o.Mark)
	require.NoError(t, f.Follow(t.Context(), run.Process.Pid))
	for range 3 {
		require.True(t, greeted(f.Ports[0]))
	}
	other := forwardOptions(t, greeter(t))
	other.Rules[1].Listen = netip.AddrPortFrom(other.Rules[1].Listen.Addr(), f.Ports[1])
	_, err = keeper.StartForward(t.Context(), path, other)
	var taken *keeper.TakenError
	require.ErrorAs(t, err, &taken)
	assert.Equal(t, 1, taken.Rule)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	requireReleased(t, other.File)

	require.NoError(t, run.Process.Kill())
	requireReleased(t, o.File)
	assert.False(t, greeted(f.Ports[0]))
	f, err = keeper.StartForward(t.Context(), path, o)
	require.NoError(t, err)
	f.Abandon()
	requireReleased(t, o.File)
}

func TestForwardsForNobodyElse(t *testing.T) {
	path, o := helper(t), forwardOptions(t, greeter(t))
	f, err := keeper.StartForward(t.Context(), path, o)
	require.NoError(t, err)
	require.Error(t, f.Follow(t.Context(), marked(t, "another").Process.Pid))
	requireReleased(t, o.File)

	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = keeper.StartForward(gone, path, o)
	require.ErrorIs(t, err, context.Canceled)
	requireReleased(t, o.File)
}

// TestForwardIsNobodysChild looks at what is left where the helper was started.
func TestForwardIsNobodysChild(t *testing.T) {
	path, o := helper(t), forwardOptions(t, greeter(t))
	f, err := keeper.StartForward(t.Context(), path, o)
	require.NoError(t, err)
	require.NoError(t, f.Follow(t.Context(), marked(t, o.Mark).Process.Pid))
	children, err := os.ReadFile("/proc/thread-self/children")
	if err == nil {
		for pid := range bytes.FieldsSeq(children) {
			line, _ := os.ReadFile(filepath.Join("/proc", string(pid), "cmdline"))
			assert.NotContains(t, string(line), "forward")
		}
	}
}
