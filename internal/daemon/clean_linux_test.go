package daemon

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDropAfterBoot(t *testing.T) {
	dir := t.TempDir()
	stamp, volatile := filepath.Join(dir, "boot"), filepath.Join(dir, "run")
	require.NoError(t, os.Mkdir(volatile, 0o700))
	require.NoError(t, DropAfterBoot(stamp, volatile))
	assert.NoDirExists(t, volatile, "nothing says that it is of this boot")

	require.NoError(t, os.Mkdir(volatile, 0o700))
	require.NoError(t, DropAfterBoot(stamp, volatile))
	assert.DirExists(t, volatile, "the same boot")

	require.NoError(t, os.WriteFile(stamp, []byte("another boot"), 0o600))
	require.NoError(t, DropAfterBoot(stamp, volatile))
	assert.NoDirExists(t, volatile)
}

func TestEndAll(t *testing.T) {
	cmd := exec.Command("sleep", "100000")
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ours := func(pid int) bool { return pid == cmd.Process.Pid && len(procList(pid, "cmdline")) > 0 }
	require.NoError(t, EndAll(background, 0, func(int) bool { return false }))
	pids, err := Processes(ours)
	require.NoError(t, err)
	assert.Equal(t, []int{cmd.Process.Pid}, pids)

	require.NoError(t, EndAll(background, 10*time.Millisecond, ours))
	<-ended
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	assert.Equal(t, syscall.SIGKILL, status.Signal())
}
