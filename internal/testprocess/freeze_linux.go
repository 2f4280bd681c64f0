package testprocess

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

const (
	patience = 10 * time.Second
	pause    = time.Millisecond
)

// Freeze makes a process stand still until thaw. The signal alone is only asked
// for: a thread that runs may answer another call before it is seen.
func Freeze(t testing.TB, pid int) (thaw func()) {
	t.Helper()
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	require.Eventually(t, func() bool { return frozen(t, pid) }, patience, pause, "the process goes on")
	return func() { require.NoError(t, syscall.Kill(pid, syscall.SIGCONT)) }
}

// frozen says whether every thread of a process is stopped.
func frozen(t testing.TB, pid int) bool {
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
}
