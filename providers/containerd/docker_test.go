package containerd

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/internal/daemon"
	"github.com/univirt/univirt/internal/speedtest"
	testimage "github.com/univirt/univirt/providers/providertest/image"
)

// dockerRun is `docker run --rm` on an engine of the test's own, which works with
// the containerd of all tests, so that both sides run on the same release. There
// is none where Docker is not installed.
func dockerRun(t *testing.T) []speedtest.Way {
	t.Helper()
	engine, err := exec.LookPath("dockerd")
	if err != nil {
		t.Log("docker run --rm: not measured: ", err)
		return nil
	}
	client, err := exec.LookPath("docker")
	if err != nil {
		t.Log("docker run --rm: not measured: ", err)
		return nil
	}
	// The name of a test would make the path of the socket too long.
	dir, err := os.MkdirTemp("", "univirt-docker-")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	removeNew(t, "/etc/docker", "/etc/docker/key.json", "/run/docker", "/run/docker/plugins")
	home := filepath.Join(dir, "engine")
	config := filepath.Join(dir, "engine.json")
	require.NoError(t, os.WriteFile(config, []byte("{}"), 0o600))
	docker := func(ctx context.Context, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, client, args...)
		cmd.Env = []string{"DOCKER_HOST=unix://" + filepath.Join(home, "docker.sock"), "HOME=" + dir, "PATH=" + os.Getenv("PATH")}
		return cmd
	}
	d, err := daemon.Start(t.Context(), daemon.Config{
		Dir: home, Name: "docker",
		Command: func(context.Context) ([]string, error) {
			return []string{engine, "--host", "unix://" + filepath.Join(home, "docker.sock"), "--containerd", startShared(t),
				"--containerd-namespace", "docker-" + testRun, "--containerd-plugins-namespace", "plugins-" + testRun,
				"--data-root", filepath.Join(home, "data"), "--exec-root", filepath.Join(home, "exec"), "--pidfile", filepath.Join(home, "pid"),
				"--config-file", config, "--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"}, nil
		},
		Env:   []string{"PATH=" + os.Getenv("PATH")},
		Ready: func(ctx context.Context) error { return docker(ctx, "version").Run() },
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		assert.NoError(t, d.Close(ctx, false))
		assert.NoError(t, daemon.Remove(ctx, daemon.RemoveOptions{Dir: home, Name: "docker"}))
	})
	image, err := guestImage()
	require.NoError(t, err)
	var archive bytes.Buffer
	require.NoError(t, testimage.WriteDocker(&archive, guestName, image))
	load := docker(t.Context(), "load")
	load.Stdin = &archive
	out, err := load.CombinedOutput()
	require.NoError(t, err, string(out))
	version, err := docker(t.Context(), "version", "--format", "{{.Server.Version}}").Output()
	require.NoError(t, err)
	t.Logf("docker run --rm: Docker %s", firstLine(version))
	return []speedtest.Way{{Name: "docker run", Do: func(ctx context.Context) error {
		out, err := docker(ctx, "run", "--rm", "--network=none", guestName, testimage.Path, "exit", "0").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}}}
}

// removeNew removes at the end of the test what was not there at its beginning: an
// engine makes a few files outside of its folders, and no option changes that.
// Folders stand before what they hold, and one that holds more than that stays.
func removeNew(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			continue
		}
		t.Cleanup(func() {
			if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
				t.Log("left by the engine: ", err)
			}
		})
	}
}
