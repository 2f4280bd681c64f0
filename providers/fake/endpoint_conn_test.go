package fake

import (
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func pair() (near, far *conn) {
	a := tcpAddr(netip.AddrFrom4([4]byte{10, 0, 0, 1}), 1)
	return newConn(a, tcpAddr(netip.AddrFrom4([4]byte{10, 0, 0, 2}), 2))
}

func TestConnBuffers(t *testing.T) {
	near, far := pair()
	// Nobody reads yet: what a buffer holds does not wait.
	_, err := near.Write(make([]byte, pipeSize))
	require.NoError(t, err)
	require.NoError(t, near.Close())
	all, err := io.ReadAll(far)
	require.NoError(t, err)
	assert.Len(t, all, pipeSize, "what a closed end has written can still be read")
	_, err = far.Write([]byte("x"))
	assert.ErrorIs(t, err, syscall.EPIPE)
	_, err = near.Read(make([]byte, 1))
	assert.ErrorIs(t, err, net.ErrClosed)
	_, err = near.Write([]byte("x"))
	assert.ErrorIs(t, err, net.ErrClosed)
	assert.ErrorIs(t, near.Close(), net.ErrClosed)
	assert.ErrorIs(t, near.SetDeadline(time.Now()), net.ErrClosed)
}

func TestConnHalfClose(t *testing.T) {
	near, far := pair()
	_, err := near.Write([]byte("question"))
	require.NoError(t, err)
	require.NoError(t, near.CloseWrite())
	require.NoError(t, near.CloseWrite())
	question, err := io.ReadAll(far)
	require.NoError(t, err)
	assert.Equal(t, "question", string(question))
	_, err = far.Write([]byte("answer"))
	require.NoError(t, err)
	require.NoError(t, near.SetDeadline(time.Now().Add(time.Hour)))
	require.NoError(t, far.Close())
	answer, err := io.ReadAll(near)
	require.NoError(t, err)
	assert.Equal(t, "answer", string(answer))
	_, err = near.Write([]byte("x"))
	assert.ErrorIs(t, err, net.ErrClosed)
}

func TestConnDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := pair()
		defer far.Close()
		defer near.Close()
		begin := time.Now()
		require.NoError(t, near.SetReadDeadline(begin.Add(time.Second)))
		_, err := near.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(begin))
		var timeout net.Error
		require.ErrorAs(t, err, &timeout)
		assert.True(t, timeout.Timeout())

		// What comes later cannot be read until the deadline is moved.
		_, err = far.Write([]byte("late"))
		require.NoError(t, err)
		_, err = near.Read(make([]byte, 4))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.NoError(t, near.SetReadDeadline(time.Time{}))
		n, err := near.Read(make([]byte, 4))
		require.NoError(t, err)
		assert.Equal(t, 4, n)

		require.NoError(t, near.SetWriteDeadline(time.Now().Add(time.Second)))
		n, err = near.Write(make([]byte, 2*pipeSize))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		assert.Equal(t, pipeSize, n)

		// A read that waits is ended by a deadline that is set meanwhile, and by Close.
		for _, end := range []func(){
			func() { _ = near.SetReadDeadline(time.Now().Add(-time.Second)) },
			func() { _ = near.Close() },
		} {
			require.NoError(t, near.SetReadDeadline(time.Time{}))
			var wait sync.WaitGroup
			wait.Go(func() {
				_, err := near.Read(make([]byte, 1))
				assert.Error(t, err)
			})
			synctest.Wait()
			end()
			wait.Wait()
		}
	})
}
