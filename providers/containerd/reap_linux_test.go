package containerd

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/univirt/univirt/compute"
)

// TestReapingMakesNoFolder: whoever reaps comes after the fact, and must not make
// the folder anew of an instance that was deleted meanwhile.
func TestReapingMakesNoFolder(t *testing.T) {
	p := openGuest(t, Options{})
	p.reaper.stop()
	ran := func(name string) string {
		inst := start(t, p, guestSpec(name, "exit", "0"))
		wait(t, inst, "")
		return inst.ID()
	}

	t.Run("deleted before", func(t *testing.T) {
		id := ran("before")
		require.NoError(t, p.Instances().Handle(id).Delete(t.Context(), compute.DeleteOptions{}))
		made := madeIn(t, p.state.instances())
		over, err := p.collect(p.dress(t.Context()), id, "")
		require.NoError(t, err)
		assert.True(t, over)
		assert.Empty(t, made())
	})

	t.Run("deleted while it waits for the lock", func(t *testing.T) {
		// Another process deletes it.
		q := open(t, Options{Namespace: p.opts.Namespace})
		id := ran("meanwhile")
		lock, _, err := p.state.lockInstance(t.Context(), id)
		require.NoError(t, err)
		defer lock.Release()
		reaped := make(chan error, 1)
		go func() {
			_, err := q.collect(q.dress(context.WithoutCancel(t.Context())), id, "")
			reaped <- err
		}()
		require.Eventually(t, func() bool {
			return q.turns.Busy(id)
		}, 30*time.Second, time.Millisecond)
		ctx := p.dress(t.Context())
		require.NoError(t, p.deleteTask(ctx, id))
		k, err := p.loadContainer(ctx, id)
		require.NoError(t, err)
		made := madeIn(t, p.state.instances())
		require.NoError(t, p.remove(ctx, k))
		lock.Release()
		require.NoError(t, <-reaped)
		for _, name := range made() {
			assert.True(t, strings.HasPrefix(name, goneMark), name)
		}
		assert.NoDirExists(t, p.state.instance(id))
	})
}

// madeIn watches a folder. The function that it returns lists what came into it
// since.
func madeIn(t *testing.T, dir string) func() []string {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, unix.Close(fd)) })
	_, err = unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ONLYDIR)
	require.NoError(t, err)
	// The watch sees what it is for.
	probe, err := os.MkdirTemp(dir, "probe")
	require.NoError(t, err)
	require.NoError(t, os.Remove(probe))
	return func() []string {
		var names []string
		buf := make([]byte, 64<<10)
		n, err := unix.Read(fd, buf)
		require.NoError(t, err)
		for rest := buf[:n]; len(rest) >= unix.SizeofInotifyEvent; {
			event := (*unix.InotifyEvent)(unsafe.Pointer(&rest[0]))
			end := unix.SizeofInotifyEvent + int(event.Len)
			names = append(names, strings.TrimRight(string(rest[unix.SizeofInotifyEvent:end]), "\x00"))
			rest = rest[end:]
		}
		require.True(t, strings.HasPrefix(names[0], "probe"), "%s", names)
		return names[1:]
	}
}
