package pidfd_test

import (
	"io/fs"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/internal/pidfd"
)

func TestWaitsForTheEnd(t *testing.T) {
	cmd := exec.Command("/bin/cat")
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	pid := cmd.Process.Pid
	_, err = pidfd.Open(pid, func(int) bool { return false })
	require.ErrorIs(t, err, fs.ErrNotExist, "another")
	assert.Equal(t, pid, pidfd.Find(func(got int) bool { return got == pid }))
	assert.Zero(t, pidfd.Find(func(got int) bool { return false }))
	assert.Zero(t, pidfd.Find(func(got int) bool { return got == pid || got == os.Getpid() }), "not the only one")
	f, err := pidfd.Open(pid, func(got int) bool { return got == pid })
	require.NoError(t, err)
	left, err := pidfd.Open(pid, func(int) bool { return true })
	require.NoError(t, err)
	closed := make(chan bool)
	go func() { closed <- pidfd.Wait(left) }()
	require.NoError(t, left.Close())
	assert.False(t, <-closed)

	over := make(chan bool)
	go func() { over <- pidfd.Wait(f) }()
	require.NoError(t, stdin.Close())
	assert.True(t, <-over)
	require.NoError(t, f.Close())
	require.NoError(t, cmd.Wait())
	_, err = pidfd.Open(pid, func(int) bool { return true })
	require.ErrorIs(t, err, fs.ErrNotExist)
}
