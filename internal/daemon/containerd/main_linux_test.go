package containerd

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	// roleVariable makes the test binary a second program that starts the
	// containerd of a folder.
	roleVariable = "CONTAINERD_TEST_ROLE"
	// binariesVariable lists further containerd programs to test with, each with
	// its shim beside it, separated by colons.
	binariesVariable = "UNIVIRT_TEST_CONTAINERD"
)

func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) == "owner" {
		owner(os.Args[1], os.Args[2])
		return
	}
	os.Exit(m.Run())
}

type report struct {
	PID   int
	Fault string
}

// owner starts the containerd of dir, reports, and ends with its input. It does
// not close what it started.
func owner(dir, binary string) {
	var r report
	d, err := Start(context.Background(), Config{Dir: dir, Binary: binary})
	if err != nil {
		r.Fault = err.Error()
	} else {
		s, _ := d.Status()
		r.PID = s.PID
	}
	_ = json.NewEncoder(os.Stdout).Encode(r)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// startOwner starts a second program on dir and returns its report.
func startOwner(t *testing.T, config Config, change func(*exec.Cmd)) (*exec.Cmd, report) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, config.Dir, config.Binary)
	cmd.Env = append(os.Environ(), roleVariable+"=owner")
	cmd.Stderr = os.Stderr
	if change != nil {
		change(cmd)
	}
	_, err = cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { kill(cmd) })
	var r report
	require.NoError(t, json.NewDecoder(bufio.NewReader(out)).Decode(&r))
	return cmd, r
}

func kill(cmd *exec.Cmd) {
	if cmd.ProcessState == nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

const busybox = "/bin/busybox"

// eachContainerd runs a test with the installed containerd and with those that
// the environment names, and sees to it that nothing is left.
func eachContainerd(t *testing.T, run func(t *testing.T, config Config)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: starts containerd")
	}
	if _, err := os.Stat(busybox); err != nil {
		t.Skip("needs " + busybox + " (package busybox-static)")
	}
	binaries := filepath.SplitList(os.Getenv(binariesVariable))
	if found, err := find("", os.Getenv("PATH")); err == nil {
		binaries = append([]string{found.containerd}, binaries...)
	}
	if len(binaries) == 0 {
		t.Skip("needs containerd: " + install)
	}
	for _, binary := range binaries {
		t.Run(binary, func(t *testing.T) {
			// The name of the test would make the path too long for a socket.
			dir, err := os.MkdirTemp("", "managed")
			require.NoError(t, err)
			config := Config{Dir: filepath.Join(dir, "c"), Binary: binary}
			t.Cleanup(func() {
				assert.NoError(t, Destroy(context.Background(), config.Dir))
				leavesNothing(t, config.Dir)
				assert.NoError(t, os.RemoveAll(dir))
			})
			run(t, config)
		})
	}
}

// begin starts the containerd of a folder; a test that fails does not keep it.
func begin(t *testing.T, config Config) *Daemon {
	t.Helper()
	d, err := Start(context.Background(), config)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, d.Close(context.Background(), true)) })
	return d
}

// leavesNothing looks for what names dir: processes, mounts, and files.
func leavesNothing(t *testing.T, dir string) {
	t.Helper()
	assert.NoDirExists(t, dir)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	assert.NotContains(t, string(mounts), dir)
	assert.Empty(t, naming(t, dir))
}

// naming lists the processes whose command line or root folder names dir.
func naming(t *testing.T, dir string) (found []string) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	require.NoError(t, err)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		line, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if strings.Contains(string(line), dir) {
			found = append(found, fmt.Sprintf("%d: %q", pid, line))
		}
	}
	return found
}

// testNamespace is where the tests of one process have their containers, which are
// told by it on a host on which others test too.
var testNamespace = fmt.Sprintf("daemon-test-%d", os.Getpid())

// box is a container that sleeps on a snapshot of its own.
type box struct {
	t      *testing.T
	ctx    context.Context
	client *client.Client
	id     string
	pid    int
	socket string
}

func startBox(t *testing.T, d *Daemon, id string) *box {
	t.Helper()
	c, err := client.New(d.Address())
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(context.Background(), testNamespace), 60*time.Second)
	t.Cleanup(cancel)
	ctx, done, err := c.WithLease(ctx)
	require.NoError(t, err)
	defer func() { assert.NoError(t, done(ctx)) }()

	mounts, err := c.SnapshotService("overlayfs").Prepare(ctx, id, "")
	require.NoError(t, err)
	require.NoError(t, mount.WithTempMount(ctx, mounts, func(root string) error {
		program, err := os.ReadFile(busybox)
		if err == nil {
			err = os.WriteFile(filepath.Join(root, "busybox"), program, 0o755)
		}
		return err
	}))
	container, err := c.NewContainer(ctx, id,
		client.WithSnapshotter("overlayfs"),
		client.WithSnapshot(id),
		client.WithRuntime("io.containerd.runc.v2", &runcoptions.Options{Root: RuncRoot(d.Address())}),
		client.WithNewSpec(oci.WithProcessArgs("/busybox", "sleep", "100000"), oci.WithCgroup("/"+testNamespace+"."+id)))
	require.NoError(t, err)
	task, err := container.NewTask(ctx, cio.NullIO)
	require.NoError(t, err)
	require.NoError(t, task.Start(ctx))
	// What else comes and goes where shims have their sockets is somebody else's.
	socket := shimSocket(filepath.Join(d.layout.bundles(), testNamespace, id))
	require.NotEmpty(t, socket)
	return &box{t: t, ctx: ctx, client: c, id: id, pid: int(task.Pid()), socket: socket}
}

// runs asks containerd whether the container runs.
func (b *box) runs() bool {
	b.t.Helper()
	container, err := b.client.LoadContainer(b.ctx, b.id)
	require.NoError(b.t, err)
	task, err := container.Task(b.ctx, nil)
	require.NoError(b.t, err)
	status, err := task.Status(b.ctx)
	require.NoError(b.t, err)
	return status.Status == client.Running
}

// gone looks for everything that the container had outside of the folder.
func (b *box) gone() {
	b.t.Helper()
	vanishes(b.t, b.pid)
	assert.NoFileExists(b.t, b.socket)
	cgroups, err := filepath.Glob("/sys/fs/cgroup/*/" + testNamespace + "." + b.id)
	require.NoError(b.t, err)
	assert.Empty(b.t, cgroups)
}

// vanishes waits for a process to end; a zombie, which whoever adopted it has
// yet to reap, has.
func vanishes(t *testing.T, pid int) {
	t.Helper()
	require.Eventually(t, func() bool {
		line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		return err != nil || len(line) == 0
	}, 10*time.Second, time.Millisecond)
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }
