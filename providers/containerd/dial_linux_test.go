package containerd

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
)

func TestDialReachesOneInstanceAlone(t *testing.T) {
	p := openGuest(t, Options{})
	ctx := t.Context()
	for _, address := range []string{"0.0.0.0:80", "[::1]:80", "127.0.0.1:80"} {
		inst := start(t, p, guestSpec("web", "listen", address))
		other := start(t, p, guestSpec("other", "sleep", "1h"))
		var conn net.Conn
		require.Eventually(t, func() bool {
			var err error
			conn, err = compute.Dial(ctx, inst, "80")
			return err == nil
		}, 10*time.Second, 5*time.Millisecond, address)
		_, err := io.WriteString(conn, "hello\n")
		require.NoError(t, err)
		line, err := bufio.NewReader(conn).ReadString('\n')
		require.NoError(t, err)
		assert.Equal(t, "hello\n", line)
		_, err = compute.Dial(ctx, other, "80")
		require.ErrorIs(t, err, errdefs.ErrUnavailable, "its network is its own")

		require.NoError(t, inst.Stop(ctx, compute.StopOptions{Force: true}))
		_, err = conn.Read(make([]byte, 1))
		require.Error(t, err, "the connection ends with the run")
		require.NoError(t, conn.Close())
		_, err = compute.Dial(ctx, inst, "80")
		require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
		require.NoError(t, inst.Delete(ctx, compute.DeleteOptions{}))
		require.NoError(t, other.Delete(ctx, compute.DeleteOptions{Force: true}))
	}
}

func TestDialByDatagrams(t *testing.T) {
	p := openGuest(t, Options{})
	inst := start(t, p, guestSpec("web", "sleep", "1h"))
	conn, err := inst.(compute.Dialer).Dial(t.Context(), network.UDP, 53)
	require.NoError(t, err)
	_, err = conn.Write([]byte("x"))
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(5*time.Second)))
	_, err = conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNREFUSED, "the instance says that nothing listens")
	require.NoError(t, conn.Close())
	_, err = inst.(compute.Dialer).Dial(t.Context(), "sctp", 53)
	require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
	require.NoError(t, inst.Delete(t.Context(), compute.DeleteOptions{Force: true}))
}

// TestDialOnTheHostsNetwork reaches what a program of the instance has there.
func TestDialOnTheHostsNetwork(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := l.Addr().(*net.TCPAddr).Port
	require.NoError(t, l.Close())
	p := openGuest(t, Options{})
	spec := guestSpec("web", "listen", fmt.Sprintf("127.0.0.1:%d", port))
	spec.NetworkMode = compute.NetworkHost
	inst := start(t, p, spec)
	require.Eventually(t, func() bool {
		conn, err := compute.Dial(t.Context(), inst, fmt.Sprint(port))
		return err == nil && conn.Close() == nil
	}, 10*time.Second, 5*time.Millisecond)
	require.NoError(t, inst.Delete(t.Context(), compute.DeleteOptions{Force: true}))
}
