package testprocess

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFreeze(t *testing.T) {
	cmd := exec.Command("sleep", "1h")
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	pid := cmd.Process.Pid
	assert.False(t, frozen(t, pid))
	thaw := Freeze(t, pid)
	assert.True(t, frozen(t, pid))
	thaw()
	require.Eventually(t, func() bool { return !frozen(t, pid) }, patience, pause)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	assert.False(t, frozen(t, pid), "what is gone does not stand still")
}
