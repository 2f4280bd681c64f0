package libvirt

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLeaseNews(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only linux: elsewhere nothing is watched")
	}
	var n leaseNews
	dir := t.TempDir()
	replace := func() {
		text := filepath.Join(dir, "new")
		require.NoError(t, os.WriteFile(text, nil, 0o600))
		require.NoError(t, os.Rename(text, filepath.Join(dir, "virbr0.status")))
	}
	comes := func(c <-chan struct{}) {
		t.Helper()
		select {
		case <-c:
		case <-time.After(10 * time.Second):
			require.Fail(t, "nothing comes")
		}
	}
	for range 2 { // it begins again
		one, stopOne := n.await(dir)
		other, stopOther := n.await(dir)
		replace()
		comes(one)
		comes(other)
		stopOne()
		replace()
		comes(other)
		stopOther()
		n.watched.Wait()
	}
	nothing, stop := n.await(filepath.Join(dir, "none-such"))
	require.Nil(t, nothing)
	stop()
	n.watched.Wait()
}
