package containerd

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// freeze makes a process stand still until thaw. The signal alone is only asked
// for: a thread that runs may answer another call before it is seen.
func freeze(t *testing.T, pid int) (thaw func()) {
	t.Helper()
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	require.Eventually(t, func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		require.NoError(t, err)
		for _, thread := range threads {
			stat, err := os.ReadFile(thread)
			// The state follows the name, which may hold anything.
			if err == nil && !bytes.HasPrefix(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" T")) {
				return false
			}
		}
		return len(threads) > 0
	}, 10*time.Second, time.Millisecond, "the process goes on")
	return func() { require.NoError(t, syscall.Kill(pid, syscall.SIGCONT)) }
}
