package keeper_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/internal/keeper"
	"github.com/univirt/univirt/internal/logfile"
)

const containerNamespace = "keeper-test"

// TestMain lets the test binary be the process that creates a container and is
// then killed.
func TestMain(m *testing.M) {
	if spec, ok := os.LookupEnv("KEEPER_TEST_CREATE"); ok {
		if err := create(strings.Split(spec, "\n")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		select {}
	}
	os.Exit(m.Run())
}

// runtime keeps its state beside the engine's, and cgroup has no parent, so that
// neither leaves anything behind.
func runtime(socket string) client.NewContainerOpts {
	return client.WithRuntime("io.containerd.runc.v2", &runcoptions.Options{Root: filepath.Join(filepath.Dir(socket), "runc")})
}

func cgroup(id string) oci.SpecOpts { return oci.WithCgroup("/" + containerNamespace + "." + id) }

// create starts a container whose output goes to a URI.
func create(spec []string) error {
	socket, rootfs, id, uri, terminal := spec[0], spec[1], spec[2], spec[3], spec[4] == "true"
	c, err := client.New(socket)
	if err != nil {
		return err
	}
	ctx := namespaces.WithNamespace(context.Background(), containerNamespace)
	opts := []oci.SpecOpts{oci.WithDefaultSpec(), oci.WithRootFSPath(rootfs), oci.WithProcessArgs("/instance"), cgroup(id)}
	if terminal {
		opts = append(opts, oci.WithTTY)
	}
	container, err := c.NewContainer(ctx, id, runtime(socket), client.WithNewSpec(opts...))
	if err != nil {
		return err
	}
	task, err := container.NewTask(ctx, func(string) (cio.IO, error) { return logIO{uri, terminal}, nil })
	if err != nil {
		return err
	}
	return task.Start(ctx)
}

// logIO is the output of a task that its shim takes care of.
type logIO struct {
	uri      string
	terminal bool
}

func (l logIO) Config() cio.Config {
	if l.terminal {
		return cio.Config{Terminal: true, Stdout: l.uri}
	}
	return cio.Config{Stdout: l.uri, Stderr: l.uri}
}
func (logIO) Cancel()      {}
func (logIO) Wait()        {}
func (logIO) Close() error { return nil }

// engine is a containerd of the test's own.
type engine struct {
	socket, rootfs string
	client         *client.Client
}

func startEngine(t *testing.T) engine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can start containerd")
	}
	for _, name := range []string{"containerd", "containerd-shim-runc-v2", "runc"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip("this test runs a container for real: ", err)
		}
	}
	dir, err := os.MkdirTemp("", "keeper-") // short, as the path of a socket must be
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	e := engine{socket: filepath.Join(dir, "sock"), rootfs: filepath.Join(dir, "rootfs")}

	build := exec.Command("go", "build", "-o", filepath.Join(e.rootfs, "instance"), "./testdata/instance")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))

	config := filepath.Join(dir, "config.toml")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[debug]
  level = "warn"
[grpc]
  address = %q
[ttrpc]
  address = %q
`, filepath.Join(dir, "root"), filepath.Join(dir, "state"), e.socket, e.socket+".ttrpc"), 0o600))
	var log bytes.Buffer
	daemon := exec.Command("containerd", "-c", config)
	daemon.Stdout, daemon.Stderr = &log, &log
	require.NoError(t, daemon.Start())
	t.Cleanup(func() {
		_ = daemon.Process.Signal(syscall.SIGTERM)
		_ = daemon.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	e.client, err = client.New(e.socket)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, e.client.Close()) })
	require.Eventually(t, func() bool {
		version, err := e.client.Version(t.Context())
		t.Log("containerd", version.Version, err)
		return err == nil
	}, 30*time.Second, 50*time.Millisecond, "containerd does not answer")
	return e
}

// create starts a container by a process that is killed once lines were written.
func (e engine) create(t *testing.T, id string, o keeper.LogOptions) client.Task {
	t.Helper()
	path, err := keeper.Install(filepath.Join(t.TempDir(), "bin"))
	require.NoError(t, err)
	uri, err := keeper.LogURI(path, o)
	require.NoError(t, err)
	creator := exec.Command(os.Args[0])
	spec := []string{e.socket, e.rootfs, id, uri, fmt.Sprint(o.Terminal)}
	creator.Env = append(os.Environ(), "KEEPER_TEST_CREATE="+strings.Join(spec, "\n"))
	var out bytes.Buffer
	creator.Stdout, creator.Stderr = &out, &out
	require.NoError(t, creator.Start())
	ctx := namespaces.WithNamespace(context.Background(), containerNamespace)
	t.Cleanup(func() {
		container, err := e.client.LoadContainer(ctx, id)
		if err != nil {
			return
		}
		if task, err := container.Task(ctx, nil); err == nil {
			_, _ = task.Delete(ctx, client.WithProcessKill)
		}
		assert.NoError(t, container.Delete(ctx))
	})
	require.Eventually(t, func() bool {
		for last, err := range logfile.Read(ctx, o.Dir, logfile.Options{Tail: 1}) {
			return err == nil && strings.Contains(string(last.Line), "999")
		}
		return false
	}, 30*time.Second, 20*time.Millisecond, "the container wrote nothing")
	require.NoError(t, creator.Process.Kill())
	require.Error(t, creator.Wait())
	require.Empty(t, out.String())
	container, err := e.client.LoadContainer(ctx, id)
	require.NoError(t, err)
	task, err := container.Task(ctx, nil)
	require.NoError(t, err)
	return task
}

// createFails has a container created whose command does not exist.
func (e engine) createFails(t *testing.T, id string, o keeper.LogOptions) {
	t.Helper()
	path, err := keeper.Install(filepath.Join(t.TempDir(), "bin"))
	require.NoError(t, err)
	uri, err := keeper.LogURI(path, o)
	require.NoError(t, err)
	ctx := namespaces.WithNamespace(t.Context(), containerNamespace)
	container, err := e.client.NewContainer(ctx, id, runtime(e.socket), client.WithNewSpec(
		oci.WithDefaultSpec(), oci.WithRootFSPath(e.rootfs), oci.WithProcessArgs("/absent"), cgroup(id)))
	require.NoError(t, err)
	_, err = container.NewTask(ctx, func(string) (cio.IO, error) { return logIO{uri, o.Terminal}, nil })
	assert.ErrorContains(t, err, "/absent")
	assert.NoError(t, container.Delete(ctx))
}

// end terminates a container and deletes its task.
func end(t *testing.T, task client.Task) {
	t.Helper()
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(t.Context(), containerNamespace), time.Minute)
	defer cancel()
	exited, err := task.Wait(ctx)
	require.NoError(t, err)
	require.NoError(t, task.Kill(ctx, syscall.SIGTERM))
	status := <-exited
	require.NoError(t, status.Error())
	require.Zero(t, status.ExitCode())
	start := time.Now()
	_, err = task.Delete(ctx)
	require.NoError(t, err)
	assert.Less(t, time.Since(start), 8*time.Second, "the shim waits for a log writer that does not end")
}

func TestLogOfContainer(t *testing.T) {
	e := startEngine(t)
	t.Run("pipes", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "logs of & %41 ?#") // as awkward as a folder can be
		task := e.create(t, "pipes", keeper.LogOptions{Dir: dir, Run: "run-1"})
		followed := make(chan []logfile.Entry)
		go func() { followed <- read(t, dir, logfile.Options{Follow: true}) }()
		end(t, task)
		// The shim has waited for the writer, so nothing may be missing now.
		entries := read(t, dir, logfile.Options{})
		assert.Equal(t, entries, <-followed, "who follows sees the same, and an end")
		got := map[logfile.Stream][]string{}
		for _, entry := range entries {
			got[entry.Stream] = append(got[entry.Stream], string(entry.Line))
			assert.Equal(t, strings.HasPrefix(string(entry.Line), "last"), entry.Partial)
		}
		for s, name := range map[logfile.Stream]string{logfile.Stdout: "out", logfile.Stderr: "err"} {
			var want []string
			for i := range 2000 {
				want = append(want, fmt.Sprintf("%s %d", name, i))
			}
			assert.Equal(t, append(want, "last "+name), got[s])
		}
		last, err := logfile.LastLines(t.Context(), dir, "run-1", 2)
		require.NoError(t, err)
		assert.ElementsMatch(t, []string{"last out", "last err"}, last)
	})
	t.Run("terminal", func(t *testing.T) {
		dir := t.TempDir()
		end(t, e.create(t, "terminal", keeper.LogOptions{Dir: dir, Run: "run-1", Terminal: true}))
		var b strings.Builder
		// The shim does not wait for the writer of a terminal.
		for _, entry := range read(t, dir, logfile.Options{Follow: true}) {
			assert.Equal(t, logfile.Stdout, entry.Stream)
			b.Write(entry.Line)
			if !entry.Partial {
				b.WriteByte('\n')
			}
		}
		assert.Equal(t, 4000, strings.Count(b.String(), "\r\n"))
		assert.True(t, strings.HasSuffix(b.String(), "last outlast err"))
	})
	t.Run("command not found", func(t *testing.T) {
		dir := t.TempDir()
		e.createFails(t, "absent", keeper.LogOptions{Dir: dir, Run: "run-1"})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		assert.NoError(t, logfile.Await(ctx, dir, "run-1"), "the log writer is left behind")
		// The runtime has the outputs before the command does, and may use them.
		for _, entry := range read(t, dir, logfile.Options{}) {
			assert.Contains(t, string(entry.Line), "/absent")
		}
	})
}
