package containerd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestInputBesideALogWriter holds what the package's documentation says of input:
// a shim that gives the output to a program gives the main process an empty input,
// whatever pipe it is told of, unless the process has a terminal. Where this fails
// a release of containerd can do more, and process.stdin and attach with it.
func TestInputBesideALogWriter(t *testing.T) {
	for name, terminal := range map[string]bool{"streams": false, "a terminal": true} {
		t.Run(name, func(t *testing.T) {
			p := openGuest(t, Options{})
			ctx := p.dress(t.Context())
			spec := guestSpec("web", "cat")
			spec.Process.TTY = terminal
			inst := create(t, p, spec)
			pipe := filepath.Join(t.TempDir(), "in")
			require.NoError(t, unix.Mkfifo(pipe, 0o600))
			// Opened for both, it needs nobody at the other end.
			in, err := os.OpenFile(pipe, os.O_RDWR, 0)
			require.NoError(t, err)
			defer in.Close()
			_, err = in.WriteString("said\n")
			require.NoError(t, err)

			run := newRun(time.Now(), 0)
			to, err := p.output(inst.ID(), run, terminal)
			require.NoError(t, err)
			rootfs, err := p.client.SnapshotService(p.snapshotter).Mounts(ctx, snapshotKey(spec.Name))
			require.NoError(t, err)
			request := &tasksapi.CreateTaskRequest{
				ContainerID: inst.ID(), Rootfs: mount.ToProto(rootfs), Terminal: terminal, Stdin: pipe, Stdout: to,
			}
			if !terminal {
				request.Stderr = to
			}
			_, err = p.client.TaskService().Create(ctx, request)
			require.NoError(t, err)
			_, err = p.client.TaskService().Start(ctx, &tasksapi.StartRequest{ContainerID: inst.ID()})
			require.NoError(t, err)
			if terminal {
				_, err = in.WriteString("\x04") // what ends the input of a terminal
				require.NoError(t, err)
			}
			assert.True(t, wait(t, inst, run).Success())
			said, _ := output(t, inst, run)
			assert.Equal(t, terminal, strings.Contains(said, "said"), "output %q", said)
		})
	}
}
