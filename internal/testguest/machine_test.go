//go:build linux

package testguest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience is how long a guest may take to say something on a busy machine.
const patience = 60 * time.Second

// machine is a virtual machine of a test.
type machine struct {
	*testing.T
	dir   string
	cmd   *exec.Cmd
	lines chan string // closed when the machine has ended
	said  []string
}

// boot starts a machine, which the test ends. Its processors are emulated: that
// works everywhere.
func boot(t *testing.T, args ...string) *machine {
	m := &machine{T: t, dir: t.TempDir(), lines: make(chan string, 1000)}
	m.cmd = exec.CommandContext(t.Context(), "qemu-system-x86_64", append([]string{
		"-machine", "q35", "-accel", "tcg", "-nodefaults", "-display", "none", "-no-reboot",
		"-serial", "stdio", "-qmp", "unix:" + m.path("qmp") + ",server=on,wait=off",
	}, args...)...)
	m.cmd.Dir = m.dir // Where sockets are made that have no folder in their name.
	out, err := m.cmd.StdoutPipe()
	require.NoError(t, err)
	m.cmd.Stderr = m.cmd.Stdout
	require.NoError(t, m.cmd.Start())
	t.Cleanup(func() {
		_ = m.cmd.Process.Kill()
		for range m.lines {
		}
		_ = m.cmd.Wait()
	})
	go func() {
		defer close(m.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			m.lines <- s.Text()
		}
	}()
	return m
}

func (m *machine) path(name string) string { return filepath.Join(m.dir, name) }

// says waits for lines, in order, and returns what follows the last one.
func (m *machine) says(lines ...string) (rest string) {
	m.Helper()
	end := time.After(patience)
	for _, want := range lines {
		for {
			var got string
			var ok bool
			select {
			case got, ok = <-m.lines:
			case <-end:
			}
			if !ok {
				require.FailNow(m, "the guest does not say what it should", "%q, but\n%s", want, strings.Join(m.said, "\n"))
			}
			m.said = append(m.said, got)
			if _, after, found := strings.Cut(got, want); found {
				rest = strings.TrimSpace(after)
				break
			}
		}
	}
	return rest
}

// ends waits until the machine is off.
func (m *machine) ends() {
	m.Helper()
	end := time.After(patience)
	for {
		select {
		case line, ok := <-m.lines:
			if !ok {
				return
			}
			m.said = append(m.said, line)
		case <-end:
			require.FailNow(m, "the guest does not end", strings.Join(m.said, "\n"))
		}
	}
}

// asked asks one of QEMU's two services on a socket.
func (m *machine) asked(socket string, requests ...string) (answer json.RawMessage) {
	m.Helper()
	ctx, stop := context.WithTimeout(m.Context(), patience)
	defer stop()
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "unix", m.path(socket))
	require.NoError(m, err)
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	d := json.NewDecoder(c)
	for _, request := range requests {
		_, err := fmt.Fprintln(c, request)
		require.NoError(m, err)
		for answer = nil; answer == nil; {
			var reply struct {
				Return json.RawMessage
				Error  json.RawMessage
			}
			require.NoError(m, d.Decode(&reply))
			require.Empty(m, string(reply.Error), request)
			answer = reply.Return
		}
	}
	return answer
}

// control asks QEMU itself to do something.
func (m *machine) control(requests ...string) {
	m.Helper()
	m.asked("qmp", append([]string{`{"execute":"qmp_capabilities"}`}, requests...)...)
}

func (m *machine) pressButton() {
	m.Helper()
	m.control(`{"execute":"system_powerdown"}`)
}
