//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// until reads until the text has been seen.
func until(t *testing.T, r io.Reader, text string) {
	t.Helper()
	seen := make(chan error, 1)
	go func() {
		var all strings.Builder
		for b := make([]byte, 256); !strings.Contains(all.String(), text); {
			n, err := r.Read(b)
			all.Write(b[:n])
			if err != nil {
				seen <- fmt.Errorf("after %q: %w", &all, err)
				return
			}
		}
		seen <- nil
	}()
	select {
	case err := <-seen:
		require.NoError(t, err)
	case <-time.After(2 * time.Minute):
		require.Fail(t, "it does not come: "+text)
	}
}

func TestAConsoleIsTalkedTo(t *testing.T) {
	t.Parallel()
	p := open(t, "talk")
	inst := booted(t, p, "web")
	c, err := compute.Console(t.Context(), inst, compute.ConsoleOptions{})
	require.NoError(t, err)
	_, err = io.WriteString(c, "echo typed-$((40+2))\n")
	require.NoError(t, err)
	until(t, c, "typed-42")

	// More than is kept for a reader that is slow.
	_, err = io.WriteString(c, "seq 1 14000; echo all-$((1+1))\n")
	require.NoError(t, err)
	until(t, c, "all-2")

	freed := make(chan error, 2)
	for range 2 {
		go func() { _, err := c.Read(make([]byte, 1)); freed <- err }()
	}
	require.NoError(t, c.Close())
	for range 2 {
		select {
		case <-freed:
		case <-time.After(5 * time.Second):
			require.Fail(t, "a reader is not freed")
		}
	}
	_, err = c.Write([]byte("x"))
	require.Error(t, err)

	lines, err := resource.Collect(compute.Logs(t.Context(), inst, compute.LogOptions{Tail: 5}))
	require.NoError(t, err)
	assert.LessOrEqual(t, len(lines), 5)
}

func TestAnAgentThatHangsOrDies(t *testing.T) {
	p := open(t, "agent")
	inst := booted(t, p, "web")
	x, err := compute.Exec(t.Context(), inst, compute.ExecSpec{Process: compute.Process{Command: []string{"sleep", "1h"}}})
	require.NoError(t, err)
	_, err = compute.Output(t.Context(), inst, "sh", "-c", "(sleep 1; killall -STOP qemu-ga; sleep 30; killall -CONT qemu-ga) >/dev/null 2>&1 &")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		ctx, cancel := timeout(t, 2*time.Second)
		defer cancel()
		began := time.Now()
		_, err := compute.Output(ctx, inst, "true")
		assert.Less(t, time.Since(began), 4*time.Second, "an agent that hangs ends no call later than its context")
		return err != nil
	}, 30*time.Second, time.Millisecond)
	for range 3 {
		began := time.Now()
		_, err := inst.Info(t.Context())
		require.NoError(t, err)
		_, err = p.Describe(t.Context())
		require.NoError(t, err)
		assert.Less(t, time.Since(began), time.Second, "and what needs no agent does not wait for it")
	}
	require.Eventually(t, func() bool {
		ctx, cancel := timeout(t, 5*time.Second)
		defer cancel()
		out, err := compute.Output(ctx, inst, "echo", "again")
		return err == nil && string(out) == "again\n"
	}, 90*time.Second, time.Millisecond, "it goes on when the agent does")
	require.NoError(t, x.Signal(t.Context(), "SIGKILL"))
	exit, err := x.Wait(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 137, exit.Code)

	x, err = compute.Exec(t.Context(), inst, compute.ExecSpec{Process: compute.Process{Command: []string{"sleep", "1h"}}})
	require.NoError(t, err)
	_, err = compute.Output(t.Context(), inst, "killall", "-KILL", "qemu-ga")
	if err != nil {
		t.Logf("the agent dies: %v", err)
	}
	began := time.Now()
	exit, err = x.Wait(t.Context())
	t.Logf("a process of an agent that is gone: %+v %v after %s", exit, err, time.Since(began))
	require.NoError(t, err)
	assert.False(t, exit.Known)
	_, err = compute.WaitFor(t.Context(), inst, compute.LevelAgent)
	require.NoError(t, err)
}
